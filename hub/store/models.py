"""What the database knows of the object store: blobs, and uploads on their way to become blobs."""

import uuid

from django.db import models


class BlobState(models.TextChoices):
    PENDING = "pending"
    PRESENT = "present"
    DOOMED = "doomed"


class Blob(models.Model):
    """Bytes addressed by the sha256 of the whole file. A row is `present` only after the bytes were hashed by us."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    size = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=BlobState.choices, default=BlobState.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    unreferenced_since = models.DateTimeField(null=True, blank=True, db_index=True)
    location = models.CharField(
        max_length=100, blank=True, help_text="Where the bytes are, if they stayed where they arrived in parts."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(sha256__regex=r"^[0-9a-f]{64}$"), name="blob_sha256_is_hex"),
            models.CheckConstraint(condition=models.Q(size__gte=0), name="blob_size_not_negative"),
        ]

    def __str__(self) -> str:
        return self.sha256

    @property
    def key(self) -> str:
        """Address in the bucket."""
        return self.location or blob_key(self.sha256)


def blob_key(sha256: str) -> str:
    """`blobs/sha256/ab/cd/<hash>`."""
    return f"blobs/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


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
