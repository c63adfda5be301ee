"""Making and changing collections, with the rights of their owner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Prefetch, Q, QuerySet

from hub import rights
from hub.accounts.actor import Actor
from hub.accounts.memberships import organisations_of
from hub.accounts.models import Account
from hub.collections.models import Collection, Item
from hub.repos.models import Repo
from hub.rights import Denied

MOST_COLLECTIONS, MOST_ITEMS, MOST_POSITION = 200, 500, 1_000_000
FIELDS = ("title", "description", "private", "theme", "position")


def collections_for(actor: Actor) -> QuerySet[Collection]:
    """Public ones, and those of the actor and of their organisations."""
    shown = Q(private=False)
    if actor.account is not None and not actor.is_limited:
        shown |= Q(owner=actor.account) | Q(owner__in=organisations_of(actor.account))
    return Collection.objects.filter(shown).select_related("owner")


def find(actor: Actor, slug: str) -> Collection | None:
    """The collection of a slug (only the key at its end counts); None if there is none that the actor may see."""
    return collections_for(actor).filter(key=slug[-24:].lower()).first()


def may_change(actor: Actor, row: Collection) -> bool:
    """Its owner, and who may write for the organisation that owns it."""
    return not actor.is_limited and rights.can_act_for(actor, row.owner)


def items_for(actor: Actor, collection: Collection) -> QuerySet[Item]:
    """What the actor may see of what is in it."""
    return _shown_to(actor).filter(collection=collection)


def with_items(actor: Actor, rows: QuerySet[Collection], most: int) -> QuerySet[Collection]:
    """The same collections, each with the first items that the actor may see as `shown`: one query for all of them."""
    return rows.prefetch_related(Prefetch("items", _shown_to(actor)[:most], to_attr="shown"))


def _shown_to(actor: Actor) -> QuerySet[Item]:
    return Item.objects.filter(repo__in=Repo.objects.known_to(actor)).select_related("repo__owner")


def counts(actor: Actor, rows: Iterable[Collection]) -> dict[int, int]:
    """How many repos of each collection the actor may know of, in one query."""
    known = Item.objects.filter(collection__in=[row.pk for row in rows], repo__in=Repo.objects.known_to(actor))
    return dict(known.values_list("collection_id").annotate(n=Count("pk")))


def create(*, actor: Actor, owner: Account, **fields: Any) -> Collection:
    """Raises Denied, ValidationError."""
    _require(actor, owner)
    if Collection.objects.filter(owner=owner).count() >= MOST_COLLECTIONS:
        raise ValidationError(f"{MOST_COLLECTIONS} collections are the most one may have.")
    row = Collection(owner=owner)
    _fill(row, **fields)
    row.save()
    return row


def update(*, actor: Actor, row: Collection, **fields: Any) -> Collection:
    """Raises Denied, ValidationError."""
    _require(actor, row.owner)
    _fill(row, **fields)
    row.save()
    return row


def delete(*, actor: Actor, row: Collection) -> None:
    """The repos stay. Raises Denied."""
    _require(actor, row.owner)
    row.delete()


def add(*, actor: Actor, row: Collection, repo: Repo, note: str = "") -> tuple[Item, bool]:
    """Put a repo at the end; (item, whether it is new). Raises Denied, ValidationError."""
    _require(actor, row.owner)
    with transaction.atomic():
        Collection.objects.select_for_update(of=("self",)).get(pk=row.pk)
        count = row.items.count()
        if count >= MOST_ITEMS:
            raise ValidationError(f"A collection holds {MOST_ITEMS} repos at most.")
        item, made = Item.objects.get_or_create(
            collection=row, repo=repo, defaults={"note": _text(note, 500, "note"), "position": count}
        )
        row.save()
    return item, made


def change(*, actor: Actor, item: Item, note: Any = None, position: Any = None) -> Item:
    """Raises Denied, ValidationError."""
    _require(actor, item.collection.owner)
    if note is not None:
        item.note = _text(note, 500, "note")
    if position is not None:
        item.position = _number(position)
    item.save()
    return item


def remove(*, actor: Actor, item: Item) -> None:
    """Raises Denied."""
    _require(actor, item.collection.owner)
    item.delete()


def _require(actor: Actor, owner: Account) -> None:
    if actor.is_limited or not rights.can_act_for(actor, owner):
        raise Denied(f"You may not change collections of {owner.name}.")


def _fill(row: Collection, **fields: Any) -> None:
    if "title" in fields:
        row.title = _text(fields["title"], 120, "title")
    if not row.title:
        raise ValidationError("A collection needs a title.")
    if "description" in fields:
        row.description = _text(fields["description"], 500, "description")
    if "theme" in fields:
        row.theme = _text(fields["theme"], 20, "theme")
    if "private" in fields:
        row.private = fields["private"] is True
    if "position" in fields:
        row.position = _number(fields["position"])


def _text(value: Any, most: int, name: str) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValidationError(f"The {name} is a text of at most {most} characters.")
    return value.encode(errors="replace").decode().replace("\x00", "").strip()


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_POSITION:
        raise ValidationError("A position is a whole number from zero on.")
    return value
