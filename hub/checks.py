"""System checks of the configuration: each has an id, says what is wrong and how to mend it.

`manage.py check` runs them, as does every command before it starts; with `--database default` it asks the store too.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from hub.stack.environment import is_loopback

SHORT_SECRET = 32


def check_secret(**_kwargs: Any) -> list[CheckMessage]:
    """Sessions and reset links are signed with SECRET_KEY."""
    try:
        secret: str = settings.SECRET_KEY
    except ImproperlyConfigured:  # Django's own words for an empty key do not say where to put one
        return [
            Error(
                "SECRET_KEY is not set.",
                hint="Set SECRET_KEY to 50 random characters, the same for every process; "
                "`manage.py up` makes one for the hub it runs.",
                id="tessera.E001",
            )
        ]
    if len(secret) < SHORT_SECRET:
        return [
            Warning(
                f"SECRET_KEY has {len(secret)} characters: it can be guessed.",
                hint=f"Set SECRET_KEY to at least {SHORT_SECRET} random characters.",
                id="tessera.W001",
            )
        ]
    return []


def check_services(**_kwargs: Any) -> list[CheckMessage]:
    """Database, broker and store are named, with what it takes to enter."""
    found: list[CheckMessage] = []
    run_here = "or run `manage.py up`, which brings one."
    if not settings.DATABASE_URL:
        hint = f"Set DATABASE_URL=postgres://user:password@host:5432/name, {run_here}"
        found.append(Error("DATABASE_URL is not set.", hint=hint, id="tessera.E002"))
    elif settings.DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        hint = "Point DATABASE_URL at a PostgreSQL server (16 or newer, with the extension vector)."
        found.append(Error("The database is not PostgreSQL.", hint=hint, id="tessera.E003"))
    if not settings.BROKER_URL:
        hint = f"Set BROKER_URL=redis://:password@host:6379/0, {run_here}"
        found.append(Error("BROKER_URL is not set: no job would ever start.", hint=hint, id="tessera.E004"))
    if not (settings.S3_ACCESS_KEY_ID and settings.S3_SECRET_ACCESS_KEY):
        store = settings.S3_ENDPOINT_URL or "the object store"
        hint = f"Set S3_ENDPOINT_URL, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY, {run_here}"
        found.append(Error(f"There are no credentials for {store}.", hint=hint, id="tessera.E005"))
    return found


def check_addresses(**_kwargs: Any) -> list[CheckMessage]:
    """What a hub that others can reach needs: no DEBUG, its own host names, https, limits, a store they can reach."""
    public = urlsplit(settings.PUBLIC_URL)
    if public.scheme not in ("http", "https") or not public.hostname:
        hint = "Set PUBLIC_URL to the address people type, e.g. https://hub.example.org"
        return [Error(f"PUBLIC_URL is not an address: {settings.PUBLIC_URL!r}.", hint=hint, id="tessera.E006")]
    hosts: Sequence[str] = settings.ALLOWED_HOSTS
    outward = not is_loopback(public.hostname) or any(not is_loopback(host) for host in hosts)
    found = _check_outward(public.scheme, public.hostname) if outward else []
    if outward and settings.DEBUG:
        hint = "Unset DEBUG: its error pages show settings and variables to everybody."
        found.append(Error("DEBUG is on for a hub that others can reach.", hint=hint, id="tessera.E007"))
    if not hosts:
        hint = f"Set ALLOWED_HOSTS={public.hostname}"
        found.append(Error("ALLOWED_HOSTS is empty: every request is refused.", hint=hint, id="tessera.E008"))
    elif "*" in hosts:
        hint = f"Set ALLOWED_HOSTS={public.hostname}: links in e-mails are built from the host name of the request."
        found.append(Error("ALLOWED_HOSTS allows any name.", hint=hint, id="tessera.E009"))
    return found


def _check_outward(scheme: str, host: str) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if scheme != "https":
        hint = "Put a proxy with a certificate in front and set PUBLIC_URL=https://... and BEHIND_PROXY=on."
        found.append(Warning(f"{host} is served without encryption.", hint=hint, id="tessera.W002"))
    if not settings.RATE_LIMITS:
        hint = "Unset RATE_LIMITS; 'off' is for tests."
        found.append(Warning("Rate limits are off for a hub that others can reach.", hint=hint, id="tessera.W003"))
    store = urlsplit(settings.S3_PUBLIC_ENDPOINT_URL).hostname or ""
    if store and is_loopback(store) and not is_loopback(host):
        hint = "Set S3_PUBLIC_ENDPOINT_URL to an address of the store that people's machines can reach."
        found.append(Warning(f"Downloads would lead people to {store}.", hint=hint, id="tessera.W004"))
    return found


def check_bucket(databases: Sequence[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """The bucket is there and our keys open it; asked only together with the database."""
    if not databases or not settings.S3_ACCESS_KEY_ID:
        return []
    from hub.store.objects import StoreError, has_bucket

    hint = "Look at S3_ENDPOINT_URL, the keys and S3_BUCKET; `manage.py prepare` creates a missing bucket."
    try:
        problem = "" if has_bucket() else "it is not there."
    except StoreError as error:
        problem = str(error)
    if not problem:
        return []
    return [Warning(f"The bucket '{settings.S3_BUCKET}' cannot be used: {problem}", hint=hint, id="tessera.W005")]


def register_checks() -> None:
    """Make the checks known to Django."""
    register(check_secret, Tags.security)
    register(check_services, "services")
    register(check_addresses, Tags.security)
    register(check_bucket, Tags.database)
