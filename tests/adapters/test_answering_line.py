"""The line between web and worker: answers in parts, refusals as sentences, nothing done for nobody."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from adapters.answering import line
from adapters.answering.worker import Worker, actor_of
from adapters.models import Embedding
from hub.accounts.actor import NOBODY
from hub.accounts.models import Scope
from hub.accounts.tokens import create_token
from hub.repos.models import Kind
from tests.adapters.test_placing import write_task
from tests.people import People
from tests.publishing import publish


def parts(_actor, payload) -> Iterator[dict]:
    for number in range(payload["count"]):
        yield {"n": number}


def refuse(_actor, _payload):
    raise line.CannotAnswer("That cannot be asked.")


def slow(_actor, payload):
    time.sleep(payload["seconds"])
    return "at last"


def crash(_actor, _payload):
    raise RuntimeError("secret detail")


@contextmanager
def working() -> Iterator[Worker]:
    worker = Worker(
        {"parts": parts, "refuse": refuse, "crash": crash, "slow": slow, "who": lambda actor, _p: actor.is_known},
        {"x": 1},
    )
    ours = connections["default"]
    ours.inc_thread_sharing()
    line.broker().delete(line.ASKS.format("quick"))
    line.broker().set(line.ALIVE, 1, ex=30)

    def serve() -> None:
        connections["default"] = ours
        while not worker.stopping.is_set():
            got = line.broker().brpop([line.ASKS.format("quick")], timeout=1)
            if got is not None:
                worker.do(json.loads(got[1]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stopping.set()
        thread.join(timeout=5)
        ours.dec_thread_sharing()
        line.broker().delete(line.ALIVE)


def test_answers_refusals_and_faults(people: People) -> None:
    with working() as worker:
        assert list(line.stream("parts", NOBODY, {"count": 3})) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert line.ask("who", people.actor("alice"), {}) is True
        assert line.ask("who", NOBODY, {}) is False
        with pytest.raises(line.CannotAnswer, match="cannot be asked"):
            line.ask("refuse", NOBODY, {})
        for kind in ("crash", "no-such-kind"):
            with pytest.raises(line.NobodyAnswers, match="the log says why") as told:
                line.ask(kind, NOBODY, {})
            assert "secret" not in str(told.value)
        late = {"id": "late", "kind": "parts", "actor": {}, "payload": {"count": 1}, "until": time.time() - 1}
        worker.do(late)
        assert not line.broker().exists(line.ANSWER.format("late")), "nobody waits for it any more"


def test_who_leaves_early_is_not_worked_for(people: People) -> None:
    with working():
        answer = line.stream("parts", NOBODY, {"count": 100_000})
        assert next(answer) == {"n": 0}
        answer.close()
        assert line.ask("who", NOBODY, {}, seconds=30) is False, "the worker is free again"


def test_an_answer_may_take_longer_than_one_wait(people: People) -> None:
    with working():
        assert line.ask("slow", NOBODY, {"seconds": line.WAIT_SECONDS + 0.5}) == "at last"


def test_rights_are_those_of_the_moment(people: People) -> None:
    token, _text = create_token(account=people.alice, label="t", scope=Scope.READ)
    who = {"account": people.alice.pk, "token": token.pk}
    assert actor_of(who).account == people.alice and not actor_of(who).may_write
    token.revoked_at = timezone.now()
    token.save()
    assert actor_of(who) == NOBODY
    people.alice.is_active = False
    people.alice.save()
    assert actor_of({"account": people.alice.pk, "token": None}) == NOBODY


def test_placing_everything_again_goes_on_where_it_stopped(
    people: People, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("films", "food"):
        publish(people.alice, name, write_task(tmp_path / name, name), kind=Kind.TASK)
    first = Embedding.objects.get(repo__name="films", method="texts").created_at
    Embedding.objects.filter(repo__name="food").update(version=99)
    call_command("embed", "--all")
    assert "Placed 1 of 1" in capsys.readouterr().out
    assert not Embedding.objects.filter(version=99).exists()
    assert Embedding.objects.get(repo__name="films", method="texts").created_at == first
    call_command("embed", "--all")
    assert "Placed 0 of 0" in capsys.readouterr().out
    call_command("embed", "alice/films")
    assert Embedding.objects.get(repo__name="films", method="texts").created_at > first
    with pytest.raises(CommandError, match="no adapter or task"):
        call_command("embed", "alice/nothing")
    with pytest.raises(CommandError, match="Say which"):
        call_command("embed")
