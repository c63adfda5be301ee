"""What may be in a repo: paths, kinds of files, sizes. Higher rooms add checks of content with `register_validator`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from django.conf import settings

from hub.repos import gitformat

ALLOWED_SUFFIXES = frozenset(
    ".safetensors .json .jsonl .md .txt .csv .tsv .parquet .yaml .yml .model .tiktoken .jinja .vocab .merges .bpe "
    ".png .jpg .jpeg .gif .webp".split()
)
ALLOWED_NAMES = frozenset(
    ".gitattributes .gitignore license licence notice vocab.txt merges.txt readme tokenizer.model".split()
)
PICKLE_SUFFIXES = frozenset(".bin .pt .pth .pkl .pickle .ckpt .joblib .npy .npz .h5 .msgpack".split())
ARCHIVE_SUFFIXES = frozenset(".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst .whl .jar".split())
TEXT_SUFFIXES = frozenset(".json .jsonl .md .txt .csv .tsv .yaml .yml .jinja".split())
_RESERVED_SEGMENTS = re.compile(r"(?i)(\.git|\.well-known|con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_ARCHIVE_MAGIC = {
    b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7-zip", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstandard",
}  # fmt: skip
_IMAGE_MAGIC = {
    ".png": (b"\x89PNG",), ".jpg": (b"\xff\xd8",), ".jpeg": (b"\xff\xd8",), ".gif": (b"GIF8",), ".webp": (b"RIFF",),
}  # fmt: skip
TRAINERS_OWN = re.compile(
    r"training_args\.bin|optimizer\.(pt|bin)|scheduler\.pt|scaler\.pt|rng_state(_\d+)?\.pth|events\.out\.tfevents\..*"
)
"""What trainers write beside a model for themselves: pickles of a training's state, and its log."""

HEAD_BYTES = 4096
MAX_DEPTH = 8


class Refused(Exception):
    """A file may not enter. `path` says which, the message why and what to do."""

    def __init__(self, path: str, message: str, *, code: str = "refused") -> None:
        super().__init__(f"{path}: {message}")
        self.path, self.code = path, code


@dataclass(frozen=True)
class Candidate:
    """A file on its way in, as validators see it: `read(start, end)` gives a range of its bytes."""

    path: str
    size: int
    read: Callable[[int, int], bytes]

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix.lower()


Validator = Callable[[Candidate], None]
_validators: list[Validator] = []


def register_validator(validator: Validator) -> None:
    """Add a check of content (it raises Refused) that every door runs before anything is written."""
    _validators.append(validator)


def check_path(path: str) -> str:
    """A path as it will be stored. Raises Refused (code `path`) for anything but a plain relative path."""
    problem = _path_problem(path)
    if problem:
        raise Refused(path[:200].encode(errors="replace").decode(), problem, code="path")
    return path


def _path_problem(path: str) -> str:
    if not path or len(path.encode(errors="surrogatepass")) > 255:
        return "a path has 1 to 255 bytes."
    if path != unicodedata.normalize("NFC", path):
        return "write the path in Unicode's composed form (NFC)."
    if any(unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") for char in path):
        return "the path has control or invisible characters; rename the file."
    if "\\" in path or path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "use a relative path with '/' between folders."
    segments = path.split("/")
    if any(part in ("", ".", "..") for part in segments):
        return "'.', '..' and empty folders are not possible in a path."
    if len(segments) > MAX_DEPTH:
        return f"folders may be nested {MAX_DEPTH} deep at most."
    if any(_RESERVED_SEGMENTS.fullmatch(part) for part in segments):
        return "the path uses a reserved name (.git, .well-known or a device name)."
    if any(part != part.strip() or part.endswith(".") for part in segments):
        return "a name may not begin or end with a space, nor end with a dot."
    return ""


def check_twins(paths: Iterable[str]) -> None:
    """Refuse two paths that differ only in case: some file systems cannot hold both."""
    seen: dict[str, str] = {}
    for path in paths:
        twin = seen.setdefault(path.casefold(), path)
        if twin != path:
            raise Refused(path, f"differs from '{twin}' only in case; rename one of them.", code="path")


def is_trainers_own(path: str) -> bool:
    """Is this a file that no reader of a model needs, which uploads of a whole folder bring along?

    Those are left behind with a word where the client can be told so; all other files of a refused kind are refused,
    since who sends them means them.
    """
    return TRAINERS_OWN.fullmatch(PurePosixPath(path).name) is not None


def check_kind(path: str) -> None:
    """Refuse pickles, archives and anything else not on the list, by name. Raises Refused (code `kind`)."""
    pure = PurePosixPath(path)
    suffix = pure.suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise Refused(
            path,
            "pickled weights can run code when loaded, so they are not accepted. Convert them with "
            "safetensors.torch.save_file(state_dict, 'adapter_model.safetensors') and upload that.",
            code="kind",
        )
    if suffix in ARCHIVE_SUFFIXES:
        raise Refused(path, "archives are not accepted; upload the files themselves.", code="kind")
    if suffix not in ALLOWED_SUFFIXES and pure.name.lower() not in ALLOWED_NAMES:
        allowed = " ".join(sorted(ALLOWED_SUFFIXES))
        raise Refused(path, f"this kind of file is not accepted. Accepted are {allowed}.", code="kind")


def check_candidate(candidate: Candidate) -> None:
    """Everything that one file must satisfy: path, kind, size, first bytes, then the registered validators.

    The text of an LFS pointer is no file: git gives it the id of the file it stands for, which would then be served
    as that text.
    """
    check_path(candidate.path)
    check_kind(candidate.path)
    _check_size(candidate)
    head = candidate.read(0, min(HEAD_BYTES, candidate.size))
    if gitformat.parse_pointer(head):
        raise Refused(
            candidate.path,
            "this is only a pointer, its LFS object was not sent. Run git lfs pull where the file lies, then send it.",
            code="kind",
        )
    _check_magic(candidate, head)
    for validator in _validators:
        validator(candidate)


def check_announced(path: str, size: int) -> None:
    """What can be said of a file before its bytes have come: path, kind and size. Raises Refused."""
    check_path(path)
    check_kind(path)
    _check_size(Candidate(path, size, lambda _start, _end: b""))


def _check_size(candidate: Candidate) -> None:
    limits = settings.LIMITS
    limit = limits["file_bytes"]
    if candidate.path.lower() == "readme.md":
        limit = limits["card_bytes"]
    elif candidate.suffix in (".json", ".yaml", ".yml", ".png", ".jpg", ".jpeg", ".gif", ".webp"):
        limit = limits["json_bytes"]
    if candidate.size > limit:
        raise Refused(candidate.path, f"{candidate.size:,} bytes are more than the {limit:,} allowed.", code="size")


def _check_magic(candidate: Candidate, head: bytes) -> None:
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    # A safetensors file whose header has 640 bytes (or 896, 1,152, 1,408) begins with the same two.
    long_header = head[2:8] == bytes(6) and head[8:9] == b"{"
    if pickled and not long_header and candidate.suffix != ".parquet":
        raise Refused(
            candidate.path,
            "this is a Python pickle under another name. Convert the weights with safetensors.torch.save_file.",
            code="kind",
        )
    for magic, name in _ARCHIVE_MAGIC.items():
        if head.startswith(magic):
            raise Refused(
                candidate.path, f"this is a {name} archive under another name; upload its files.", code="kind"
            )
    images = _IMAGE_MAGIC.get(candidate.suffix)
    if images and not head.startswith(images):
        raise Refused(candidate.path, f"this is not a {candidate.suffix[1:]} image.", code="kind")
    if candidate.suffix in TEXT_SUFFIXES and b"\x00" in head:
        raise Refused(candidate.path, "a text file may not have zero bytes; save it as UTF-8.", code="kind")
