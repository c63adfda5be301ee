"""The only module that talks to S3. Keys in, bytes and presigned addresses out; every S3 error becomes a StoreError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

CHUNK = 1024 * 1024
TRIES = 3
AWAY = "The object store does not answer; try again in a minute."


class StoreError(Exception):
    """The object store could not do what was asked; try again later."""


class ObjectMissing(StoreError):
    """There is no object under that key."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int
    etag: str


@cache
def _client(endpoint: str) -> Any:
    """A client for one endpoint. boto3 clients are thread-safe; one per process is enough."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint or None,
        aws_access_key_id=settings.S3_ACCESS_KEY_ID,
        aws_secret_access_key=settings.S3_SECRET_ACCESS_KEY,
        region_name=settings.S3_REGION,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"max_attempts": 4, "mode": "standard"},
            max_pool_connections=32,
            connect_timeout=5,
            read_timeout=60,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _s3() -> Any:
    return _client(settings.S3_ENDPOINT_URL)


@contextmanager
def _store_errors(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchKey", "404", "NotFound", "NoSuchUpload"):
            raise ObjectMissing(f"No object {key}.") from error
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            raise StoreError(AWAY) from error  # a store that has just started says so of all it holds
        raise StoreError(f"The object store refused {key}: {code}.") from error
    except BotoCoreError as error:
        raise StoreError(AWAY) from error


def ensure_bucket() -> None:
    """Create the bucket if it is not there. Raises StoreError."""
    with _store_errors(settings.S3_BUCKET):
        if not has_bucket():
            _s3().create_bucket(Bucket=settings.S3_BUCKET)
    _allow_browser_uploads()


def has_bucket() -> bool:
    """Whether the bucket is there; changes nothing. Raises StoreError."""
    with _store_errors(settings.S3_BUCKET):
        try:
            _s3().head_bucket(Bucket=settings.S3_BUCKET)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return False
            raise
    return True


def _page_origins() -> list[str]:
    """Where a browser may have this hub's pages from: its public address, and the other hosts it answers to."""
    public = urlsplit(settings.PUBLIC_URL)
    port = f":{public.port}" if public.port else ""
    named = [host for host in settings.ALLOWED_HOSTS if not host.startswith((".", "*"))]
    return list(dict.fromkeys([settings.PUBLIC_URL, *(f"{public.scheme}://{host}{port}" for host in named)]))


def _allow_browser_uploads() -> None:
    """Let pages of this hub PUT parts to presigned addresses. Stores without CORS settings allow it anyhow."""
    rule = {
        "AllowedMethods": ["GET", "PUT", "HEAD"],
        "AllowedOrigins": _page_origins(),
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }
    try:
        _s3().put_bucket_cors(Bucket=settings.S3_BUCKET, CORSConfiguration={"CORSRules": [rule]})
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (400, 403, 405, 501):
            raise StoreError("The bucket's CORS rule could not be set.") from error


def put(key: str, body: bytes | IO[bytes], *, sha256_base64: str | None = None) -> None:
    """Write an object. With `sha256_base64` the store itself refuses wrong bytes. Raises StoreError."""
    extra = {"ChecksumSHA256": sha256_base64} if sha256_base64 else {}
    with _store_errors(key):
        _s3().put_object(Bucket=settings.S3_BUCKET, Key=key, Body=body, **extra)


def put_large(key: str, body: IO[bytes]) -> None:
    """Write an object of any size, in parts, in bounded memory. Raises StoreError."""
    with _store_errors(key):
        _s3().upload_fileobj(body, settings.S3_BUCKET, key)


def put_if_absent(key: str, body: bytes | IO[bytes]) -> bool:
    """Write an object unless one is there; False if it was. Raises StoreError."""
    with _store_errors(key):
        try:
            _s3().put_object(Bucket=settings.S3_BUCKET, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
                return False
            raise
    return True


def copy(source: str, target: str) -> None:
    """Copy inside the bucket, by the store itself. Raises ObjectMissing, StoreError."""
    with _store_errors(source):
        _s3().copy({"Bucket": settings.S3_BUCKET, "Key": source}, settings.S3_BUCKET, target)


def head(key: str) -> ObjectInfo:
    """Size and etag. Raises ObjectMissing, StoreError."""
    with _store_errors(key):
        answer = _s3().head_object(Bucket=settings.S3_BUCKET, Key=key)
    return ObjectInfo(key=key, size=answer["ContentLength"], etag=answer["ETag"].strip('"'))


def read_range(key: str, start: int, end: int) -> bytes:
    """Bytes `start` (inclusive) to `end` (exclusive). Raises ObjectMissing, StoreError."""
    if end <= start:
        return b""
    with _store_errors(key):
        answer = _s3().get_object(Bucket=settings.S3_BUCKET, Key=key, Range=f"bytes={start}-{end - 1}")
        return bytes(answer["Body"].read())


def read_into(key: str, start: int, target: memoryview) -> None:
    """Fill the target with what lies at `start`, going on where a connection broke. Raises as `read_range`."""
    for left in reversed(range(TRIES)):
        try:
            with _store_errors(key):
                body = _s3().get_object(
                    Bucket=settings.S3_BUCKET, Key=key, Range=f"bytes={start}-{start + len(target) - 1}"
                )["Body"]
                while target and (got := body.readinto(target[:CHUNK])):
                    target, start = target[got:], start + got
        except ObjectMissing:
            raise
        except StoreError:
            if not left:
                raise
        if not target:
            return
    raise StoreError(f"The object {key} ends before its time.")


def stream(key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The object's bytes in chunks of 1 MiB, from `start` to `end` (exclusive). Raises ObjectMissing, StoreError."""
    extra = {} if start == 0 and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    with _store_errors(key):
        body = _s3().get_object(Bucket=settings.S3_BUCKET, Key=key, **extra)["Body"]
        yield from body.iter_chunks(CHUNK)


def delete(key: str) -> None:
    """Remove an object; absent is fine. Raises StoreError."""
    with _store_errors(key):
        _s3().delete_object(Bucket=settings.S3_BUCKET, Key=key)


def walk(prefix: str) -> Iterator[ObjectInfo]:
    """Every object under a prefix. Raises StoreError."""
    with _store_errors(prefix):
        for page in _s3().get_paginator("list_objects_v2").paginate(Bucket=settings.S3_BUCKET, Prefix=prefix):
            for row in page.get("Contents", []):
                yield ObjectInfo(key=row["Key"], size=row["Size"], etag=row["ETag"].strip('"'))


def presigned_get(key: str, *, filename: str, content_type: str, seconds: int, inline: bool = False) -> str:
    """An address that reads one object for a while, with type and disposition set by us."""
    disposition = "inline" if inline else "attachment"
    quoted = filename.replace('"', "")
    return str(
        _client(settings.S3_PUBLIC_ENDPOINT_URL).generate_presigned_url(
            "get_object",
            Params={
                "Bucket": settings.S3_BUCKET,
                "Key": key,
                "ResponseContentDisposition": f'{disposition}; filename="{quoted}"',
                "ResponseContentType": content_type,
            },
            ExpiresIn=seconds,
        )
    )


def presigned_range(key: str, start: int, end: int, *, seconds: int) -> str:
    """An address that reads bytes `start` to `end` (exclusive) of an object, and no others: the range is signed."""
    return str(
        _client(settings.S3_PUBLIC_ENDPOINT_URL).generate_presigned_url(
            "get_object",
            Params={"Bucket": settings.S3_BUCKET, "Key": key, "Range": f"bytes={start}-{end - 1}"},
            ExpiresIn=seconds,
        )
    )


def presigned_put(key: str, *, size: int, seconds: int) -> str:
    """An address that takes one object of exactly `size` bytes (the length is signed)."""
    return str(
        _client(settings.S3_PUBLIC_ENDPOINT_URL).generate_presigned_url(
            "put_object",
            Params={"Bucket": settings.S3_BUCKET, "Key": key, "ContentLength": size},
            ExpiresIn=seconds,
        )
    )


def start_multipart(key: str) -> str:
    """Open a multipart upload; returns its id. Raises StoreError."""
    with _store_errors(key):
        return str(_s3().create_multipart_upload(Bucket=settings.S3_BUCKET, Key=key)["UploadId"])


def presigned_part(key: str, multipart_id: str, number: int, *, seconds: int) -> str:
    """An address that takes one part (numbered from 1)."""
    return str(
        _client(settings.S3_PUBLIC_ENDPOINT_URL).generate_presigned_url(
            "upload_part",
            Params={"Bucket": settings.S3_BUCKET, "Key": key, "UploadId": multipart_id, "PartNumber": number},
            ExpiresIn=seconds,
        )
    )


def parts_present(key: str, multipart_id: str) -> dict[int, str]:
    """Part number → etag of what has arrived, so that an upload can go on. Raises ObjectMissing, StoreError."""
    found: dict[int, str] = {}
    with _store_errors(key):
        for page in (
            _s3().get_paginator("list_parts").paginate(Bucket=settings.S3_BUCKET, Key=key, UploadId=multipart_id)
        ):
            found.update({part["PartNumber"]: part["ETag"].strip('"') for part in page.get("Parts", [])})
    return found


def finish_multipart(key: str, multipart_id: str, etags: dict[int, str]) -> None:
    """Join the parts. Raises ObjectMissing (already joined or aborted), StoreError."""
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]
    with _store_errors(key):
        _s3().complete_multipart_upload(
            Bucket=settings.S3_BUCKET, Key=key, UploadId=multipart_id, MultipartUpload={"Parts": parts}
        )


def abort_multipart(key: str, multipart_id: str) -> None:
    """Forget a multipart upload and its parts; absent is fine. Raises StoreError."""
    try:
        with _store_errors(key):
            _s3().abort_multipart_upload(Bucket=settings.S3_BUCKET, Key=key, UploadId=multipart_id)
    except ObjectMissing:
        pass
