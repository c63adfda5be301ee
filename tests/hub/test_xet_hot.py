"""Files in chunks that many download are kept whole for a while; slow readers never take every thread."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from hub.jobs.models import Job, State
from hub.jobs.working import run_job
from hub.repos import chunking, hot
from hub.store import objects
from hub.store.collect import collect
from hub.store.models import Blob
from hub.store.verify import verify
from tests.people import People, make_repo, put

pytestmark = pytest.mark.django_db
DATA = random.Random(21).randbytes(900_000)
ADDRESS = "/alice/x/resolve/main/tokenizer.model"


@pytest.fixture
def blob(people: People, settings: Any) -> Blob:
    """A file in chunks whose old object is gone."""
    settings.LIMITS = settings.LIMITS | {"whole_bytes": 100_000, "hot_downloads": 3}
    put(people.alice, make_repo(people.alice, "x"), {"tokenizer.model": DATA})
    run_job(str(Job.objects.get(kind=chunking.KIND).pk))
    Blob.objects.update(dropped_at=timezone.now() - timedelta(days=1))
    assert collect().wholes_dropped == 1
    found = Blob.objects.get()
    cache.delete(f"plain-downloads:{found.sha256}")
    return found


def fetch() -> Any:
    answer = Client().get(ADDRESS)
    return b"".join(answer.streaming_content) if answer.status_code == 200 else answer


def test_many_downloads_make_it_whole_for_a_while(blob: Blob) -> None:
    for _ in range(5):
        assert fetch() == DATA
    job = Job.objects.get(kind=hot.KIND)
    run_job(str(job.pk))
    job.refresh_from_db()
    assert job.state == State.SUCCEEDED, job.error
    answer = fetch()
    assert answer.status_code == 302
    assert httpx2.get(answer["Location"]).content == DATA
    assert not verify(hashes=True).missing
    Blob.objects.update(hot_until=timezone.now() - timedelta(seconds=1))
    assert collect().wholes_dropped == 0  # addresses that were given out still work
    assert fetch() == DATA
    Blob.objects.update(dropped_at=timezone.now() - timedelta(days=1))
    key = Blob.objects.get().key
    assert collect().wholes_dropped == 1
    with pytest.raises(objects.ObjectMissing):
        objects.head(key)
    assert fetch() == DATA


def test_damaged_chunks_never_become_whole(blob: Blob) -> None:
    xorb = blob.terms.get().xorb
    objects.put(xorb.key, bytes(xorb.size))
    for _ in range(3):
        hot.count(blob)
    job = Job.objects.get(kind=hot.KIND)
    run_job(str(job.pk))
    assert not Blob.objects.get().whole


def test_places_are_given_back(blob: Blob, settings: Any) -> None:
    held = [Client().get(ADDRESS).streaming_content for _ in range(settings.LIMITS["streams"])]
    assert all(next(pieces) for pieces in held)
    busy = Client().get(ADDRESS)
    assert (busy.status_code, busy["Retry-After"]) == (503, "5")
    assert all(b"".join(pieces) for pieces in held)  # read to the end, or left: the server closes them
    assert fetch() == DATA
