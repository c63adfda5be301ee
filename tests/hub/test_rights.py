"""Who may do what: computed, for every person, verb and kind of repo."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts import names, tokens
from hub.accounts.actor import NOBODY, Actor
from hub.accounts.models import Account, Membership, create_person
from hub.repos import lifecycle
from hub.repos.models import Repo
from hub.rights import Denied, Verb, can, require
from tests.people import People, make_repo

ALL = set(Verb)
READS, TALKS = {Verb.READ}, {Verb.READ, Verb.PROPOSE}


@pytest.mark.parametrize(
    ("person", "private", "verbs"),
    [
        ("alice", False, ALL - {Verb.REVIEW}), ("alice", True, ALL - {Verb.REVIEW}),
        ("bob", False, {*TALKS, Verb.WRITE}), ("bob", True, {*TALKS, Verb.WRITE}),
        ("charlie", False, TALKS), ("charlie", True, set()),
        ("mary", False, {*TALKS, Verb.REVIEW}), ("mary", True, set()),
        (None, False, READS), (None, True, set()),
    ],
)  # fmt: skip
def test_every_verb(people: People, person: str | None, private: bool, verbs: set[Verb]) -> None:
    repo = make_repo(people.acme, "team", by=people.alice, private=private)
    actor = people.actor(person)
    assert {verb for verb in Verb if can(actor, verb, repo)} == verbs
    assert Repo.objects.visible_to(actor).filter(pk=repo.pk).exists() == (Verb.READ in verbs)


def test_rights_end_with_membership(people: People) -> None:
    repo = make_repo(people.acme, "team", by=people.alice, private=True)
    assert can(people.actor("bob"), Verb.WRITE, repo)
    Membership.objects.filter(member=people.bob).delete()
    assert not can(people.actor("bob"), Verb.READ, repo)
    assert not Repo.objects.visible_to(people.actor("bob")).exists()


def test_read_tokens_and_limited_tokens(people: People) -> None:
    repo = make_repo(people.alice, "one", private=True)
    other = make_repo(people.alice, "two", private=True)

    def actor(**fields: object) -> Actor:
        row, _text = tokens.create_token(account=people.alice, label="t", **fields)  # type: ignore[arg-type]
        return Actor(account=people.alice, token=row)

    assert can(actor(scope="read"), Verb.READ, repo)
    with pytest.raises(Denied, match="only read"):
        require(actor(scope="read"), Verb.WRITE, repo)
    limited = actor(repos=["Alice/One"])
    assert can(limited, Verb.WRITE, repo)
    assert not can(limited, Verb.READ, other)
    assert list(Repo.objects.visible_to(limited)) == [repo]
    with pytest.raises(Denied):
        lifecycle.create_repo(actor=limited, owner=people.alice, name="three")


def test_a_limited_token_reads_what_is_public_and_does_nothing_there(people: People) -> None:
    there, elsewhere = make_repo(people.alice, "there"), make_repo(people.alice, "elsewhere")
    for person in (people.alice, people.mary):
        row, _text = tokens.create_token(account=person, label="t", repos=["alice/there"])
        limited, unlimited = Actor(account=person, token=row), Actor(account=person)
        assert {verb for verb in Verb if can(limited, verb, there)} == {
            verb for verb in Verb if can(unlimited, verb, there)
        }
        assert {verb for verb in Verb if can(limited, verb, elsewhere)} == READS
        with pytest.raises(Denied, match="limited to other repos"):
            require(limited, Verb.PROPOSE, elsewhere)


def test_tokens_are_hashed_found_and_die(people: People) -> None:
    row, text = tokens.create_token(account=people.alice, label="laptop")
    assert text.startswith("hf_")
    assert text not in str(row.__dict__)
    assert tokens.find_token(text) == row
    assert tokens.find_token(text + "x") is None
    tokens.revoke_token(row)
    assert tokens.find_token(text) is None
    _row, old = tokens.create_token(account=people.alice, label="old", expires_at=timezone.now())
    assert tokens.find_token(old) is None


@pytest.mark.parametrize("name", ["-x-", "a.b", "_", "x" * 96, "9lives", ".hidden"])
def test_good_names(db: None, name: str) -> None:
    assert create_person(name=name).name == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ü", "..", "api", "API", "Datasets", "accounts", "x" * 97, "a.git"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ValidationError):
        names.check_account_name(name)


def test_names_are_one_whatever_their_case(people: People) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        create_person(name="ALICE")
    assert Account.objects.named("aLiCe") == people.alice
    make_repo(people.alice, "Thing")
    with pytest.raises(lifecycle.Exists):
        make_repo(people.alice, "thing")
    assert make_repo(people.alice, "thing", kind="task").is_task
    assert Repo.objects.with_id("ALICE/THING").models().count() == 1


def test_nobody_creates_for_others(people: People) -> None:
    for actor in (NOBODY, people.actor("charlie")):
        with pytest.raises(Denied):
            lifecycle.create_repo(actor=actor, owner=people.acme, name="x")
