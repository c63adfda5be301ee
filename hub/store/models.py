"""What the database knows of the object store: blobs, xorbs of chunks, predictions, and uploads on their way in."""

import uuid

from django.db import models


class BlobState(models.TextChoices):
    PENDING = "pending"
    PRESENT = "present"
    DOOMED = "doomed"


class Blob(models.Model):
    """Bytes addressed by the sha256 of the whole file. A row is `present` only after the bytes were hashed by us.

    They are stored as one object (`whole`), as ranges of chunks in xorbs (`xet_hash` and `terms`), as what follows from
    other blobs (`predicted` and `prediction`), or in several of these forms.
    """

    sha256 = models.CharField(primary_key=True, max_length=64)
    size = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=BlobState.choices, default=BlobState.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    unreferenced_since = models.DateTimeField(null=True, blank=True, db_index=True)
    location = models.CharField(
        max_length=100, blank=True, help_text="Where the bytes are, if they stayed where they arrived in parts."
    )
    whole = models.BooleanField(default=True, help_text="The object of the whole file is to be used.")
    dropped_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when the object is not used; it is removed when no address of it lives."
    )
    hot_until = models.DateTimeField(
        null=True, blank=True, help_text="A file in chunks is kept whole too until then: many download it."
    )
    xet_hash = models.CharField(
        max_length=64, blank=True, db_index=True, help_text="Xet's hash of the file, if it is stored as chunks."
    )
    chunks_dropped_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since when nobody is sent to the chunks; they go when no address of them lives.",
    )
    predicted = models.BooleanField(default=False, help_text="It can be rebuilt from other blobs, and was once.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(sha256__regex=r"^[0-9a-f]{64}$"), name="blob_sha256_is_hex"),
            models.CheckConstraint(condition=models.Q(size__gte=0), name="blob_size_not_negative"),
            models.CheckConstraint(
                condition=models.Q(whole=True) | ~models.Q(xet_hash="") | models.Q(predicted=True),
                name="blob_is_stored_somehow",
            ),
        ]

    def __str__(self) -> str:
        return self.sha256

    @property
    def key(self) -> str:
        """Address in the bucket."""
        return self.location or blob_key(self.sha256)

    @property
    def xet_name(self) -> str:
        """Xet's hash while clients may be sent to the chunks."""
        return "" if self.chunks_dropped_at else self.xet_hash


def blob_key(sha256: str) -> str:
    """`blobs/sha256/ab/cd/<hash>`."""
    return f"blobs/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


class Xorb(models.Model):
    """Up to 64 MiB of chunks back to back, by the merkle root of their hashes; its `table` belongs to that object."""

    hash = models.CharField(max_length=64, unique=True, help_text="In Xet's text form.")
    state = models.CharField(max_length=8, choices=BlobState.choices, default=BlobState.PENDING)
    size = models.PositiveIntegerField(default=0, help_text="Bytes in the store.")
    unpacked = models.PositiveIntegerField(default=0, help_text="Bytes of its chunks, uncompressed.")
    table = models.BinaryField(default=b"", help_text="Hash, end and length of each chunk: hub.xet.xorbs.Table.")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(hash__regex=r"^[0-9a-f]{64}$"), name="xorb_hash_is_hex")
        ]

    def __str__(self) -> str:
        return self.hash

    @property
    def key(self) -> str:
        """Address in the bucket: `xorbs/ab/cd/<hash>`."""
        return f"xorbs/{self.hash[:2]}/{self.hash[2:4]}/{self.hash}"


class XorbChunk(models.Model):
    """Where a chunk can be found: the first eight bytes of its hash, as a number. The xorb's table has the rest."""

    id = models.BigAutoField(primary_key=True)
    prefix = models.BigIntegerField(db_index=True)
    xorb = models.ForeignKey(Xorb, on_delete=models.CASCADE, related_name="chunk_rows")
    number = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.xorb_id}:{self.number}"


class Term(models.Model):
    """One range of chunks of a file: `start` to `end` (exclusive) of a xorb, at `offset` in the file."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="terms")
    xorb = models.ForeignKey(Xorb, on_delete=models.PROTECT, related_name="terms")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    offset = models.BigIntegerField()
    size = models.PositiveIntegerField()

    class Meta:
        ordering = ["offset"]
        constraints = [
            models.UniqueConstraint(fields=["blob", "offset"], name="term_once"),
            models.CheckConstraint(condition=models.Q(start__lt=models.F("end")), name="term_has_chunks"),
        ]

    def __str__(self) -> str:
        return f"{self.blob_id[:10]} at {self.offset}"


class XorbClaim(models.Model):
    """An account that sent a xorb, or was told of it: it may refer to all its chunks, which stay for so long."""

    xorb = models.ForeignKey(Xorb, on_delete=models.CASCADE, related_name="claims")
    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="xorb_claims")
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["xorb", "account"], name="xorb_claim_once")]

    def __str__(self) -> str:
        return f"{self.account_id} has {self.xorb_id}"


class Prediction(models.Model):
    """How a blob follows from others: a recipe that only its decoder understands, and a payload of the rest.

    It is `present` after the blob was rebuilt from it once and had its sha256.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    blob = models.OneToOneField(Blob, on_delete=models.CASCADE, related_name="prediction")
    decoder = models.CharField(max_length=40, help_text="Name and version; see hub.store.rebuilding.register_decoder.")
    recipe = models.BinaryField()
    size = models.BigIntegerField(help_text="Bytes of the payload in the store; without any there is no object.")
    state = models.CharField(max_length=8, choices=BlobState.choices, default=BlobState.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.blob_id[:10]} by {self.decoder}"

    @property
    def key(self) -> str:
        """Address of the payload in the bucket."""
        return f"predicted/{self.pk}"


class PredictionInput(models.Model):
    """A blob without which another cannot be rebuilt: it may not be removed."""

    prediction = models.ForeignKey(Prediction, on_delete=models.CASCADE, related_name="inputs")
    number = models.PositiveSmallIntegerField()
    blob = models.ForeignKey(Blob, on_delete=models.RESTRICT, related_name="explains")

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["prediction", "number"], name="prediction_input_once")]

    def __str__(self) -> str:
        return f"{self.blob_id[:10]} for {self.prediction_id}"


class Upload(models.Model):
    """Bytes on their way in. They land under `incoming/` and become a blob only after the server read them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="uploads")
    repo_key = models.CharField(max_length=40, help_text="The repo this upload is for; opaque here.")
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    part_size = models.BigIntegerField(default=0, help_text="0: one PUT. Else bytes of every part but the last.")
    multipart_id = models.CharField(max_length=1024, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["repo_key", "sha256"])]

    def __str__(self) -> str:
        return f"{self.id} ({self.size} bytes)"

    @property
    def key(self) -> str:
        """Address of the unverified bytes in the bucket.

        Parts can no longer be sent once they are joined, so what arrives in parts is read there and stays there. An
        address for a single PUT can be used again, so bytes under `incoming/` are never served.
        """
        return f"blobs/uploads/{self.id}" if self.part_size else f"incoming/{self.id}"

    @property
    def parts(self) -> int:
        """Number of parts of a multipart upload; 1 for a single PUT."""
        return max(1, -(-self.size // self.part_size)) if self.part_size else 1
