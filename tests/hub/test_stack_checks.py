"""Every unsafe or incomplete configuration has its check, and a sound one has none."""

import pytest

from hub import checks

SOUND = {
    "SECRET_KEY": "s" * 50,
    "DEBUG": False,
    "PUBLIC_URL": "https://hub.example.org",
    "ALLOWED_HOSTS": ["hub.example.org"],
    "RATE_LIMITS": True,
    "DATABASE_URL": "postgres://u:p@db/t",
    "BROKER_URL": "redis://:p@broker/0",
    "S3_ENDPOINT_URL": "https://s3.example.org",
    "S3_PUBLIC_ENDPOINT_URL": "https://s3.example.org",
    "S3_ACCESS_KEY_ID": "a",
    "S3_SECRET_ACCESS_KEY": "b",
}


def found(settings, **changes):
    for name, value in {**SOUND, **changes}.items():
        setattr(settings, name, value)
    messages = [*checks.check_secret(), *checks.check_services(), *checks.check_addresses()]
    assert all(message.hint for message in messages)
    return {message.id for message in messages}


def test_a_sound_configuration_has_no_complaint(settings):
    assert found(settings) == set()


def test_a_hub_for_this_machine_alone_may_use_http(settings):
    local = {"PUBLIC_URL": "http://127.0.0.1:8000", "ALLOWED_HOSTS": ["127.0.0.1", "localhost", "[::1]"]}
    assert found(settings, RATE_LIMITS=False, DEBUG=True, **local) == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SECRET_KEY": ""}, "E001"),
        ({"SECRET_KEY": "short"}, "W001"),
        ({"DATABASE_URL": ""}, "E002"),
        ({"BROKER_URL": ""}, "E004"),
        ({"S3_SECRET_ACCESS_KEY": ""}, "E005"),
        ({"PUBLIC_URL": "hub.example.org"}, "E006"),
        ({"DEBUG": True}, "E007"),
        ({"ALLOWED_HOSTS": []}, "E008"),
        ({"ALLOWED_HOSTS": ["*"]}, "E009"),
        ({"PUBLIC_URL": "http://hub.example.org"}, "W002"),
        ({"RATE_LIMITS": False}, "W003"),
        ({"S3_PUBLIC_ENDPOINT_URL": "http://127.0.0.1:8333"}, "W004"),
    ],
)
def test_each_mistake_is_named(settings, changes, expected):
    assert found(settings, **changes) == {f"tessera.{expected}"}


def test_another_database_is_refused(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    assert found(settings) == {"tessera.E003"}


def test_a_missing_bucket_is_named(services, settings):
    assert checks.check_bucket(databases=["default"]) == []
    settings.S3_BUCKET = "test-never-made"
    assert [message.id for message in checks.check_bucket(databases=["default"])] == ["tessera.W005"]
