"""Plain `hf auth login`: the device flow, its page, refresh tokens, and every way it is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.test import Client
from django.utils import timezone

from hub.accounts import devices
from hub.accounts.models import DeviceLogin, Token
from hub.accounts.tokens import revoke_token
from tests.people import PASSWORD, People, make_people
from tests.services import LiveHub
from tests.wire.test_wire_routes import as_

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture
def people(db: None) -> People:
    return make_people()


def begin() -> dict[str, Any]:
    return (
        Client().post("/oauth/device", {"client_id": "x"}, headers={"User-Agent": "unknown/None; hf_hub/2.4.0"}).json()
    )


def poll(asked: dict[str, Any]) -> dict[str, Any]:
    return Client().post("/oauth/token", {"grant_type": GRANT, "device_code": asked["device_code"]}).json()


def refresh(text: str) -> dict[str, Any]:
    return Client().post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": text}).json()


def browser(people: People, name: str) -> Client:
    client = Client()
    client.force_login(getattr(people, name), backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def test_a_person_lets_a_program_in(people: People) -> None:
    asked = begin()
    assert asked["verification_uri_complete"] == f"http://testserver/login/device?code={asked['user_code']}"
    assert poll(asked)["error"] == "authorization_pending"
    assert poll(asked)["error"] == "slow_down"
    address = asked["verification_uri_complete"].removeprefix("http://testserver")
    away = Client().get(address)
    assert (away.status_code, away.headers["Location"]) == (
        302,
        f"/accounts/login/?next=%2Flogin%2Fdevice%3Fcode%3D{asked['user_code']}",
    )
    alice = browser(people, "alice")
    page = alice.get(address).content.decode()
    assert asked["user_code"] in page and "unknown/None" in page
    typed = asked["user_code"].lower().replace("-", " ")
    assert (
        "Signed in" in alice.post("/login/device", {"code": typed, "answer": "allow", "scope": "read"}).content.decode()
    )
    granted = poll(asked)
    me = Client(headers={"Authorization": f"Bearer {granted['access_token']}"}).get("/api/whoami-v2").json()
    assert (me["name"], me["auth"]["accessToken"]["role"]) == ("alice", "read")
    assert poll(asked)["error"] == "invalid_grant"  # the text is told once
    assert alice.get(address).status_code == 404
    # refresh tokens work once, and end with the token
    again = refresh(granted["refresh_token"])
    assert {"access_token", "refresh_token", "expires_in"} <= set(again)
    assert refresh(granted["refresh_token"])["error"] == "invalid_grant"
    old, new = Token.objects.filter(account=people.alice).order_by("pk")
    assert old.expires_at < timezone.now() + timedelta(days=1, minutes=1) < new.expires_at
    revoke_token(new)
    assert refresh(again["refresh_token"])["error"] == "invalid_grant"


def test_refused_expired_or_nonsense(people: People) -> None:
    asked, alice = begin(), browser(people, "alice")
    assert "Refused" in alice.post("/login/device", {"code": asked["user_code"], "answer": "refuse"}).content.decode()
    assert poll(asked)["error"] == "access_denied"
    late = begin()
    DeviceLogin.objects.filter(code=late["user_code"]).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert poll(late)["error"] == "expired_token"
    assert alice.post("/login/device", {"code": late["user_code"], "answer": "allow"}).status_code == 404
    for body in ({}, {"grant_type": "password"}, {"grant_type": GRANT}, {"grant_type": GRANT, "device_code": "\x00"}):
        answer = Client().post("/oauth/token", body)
        assert (answer.status_code, "error_description" in answer.json()) == (400, True)
    assert Client().get("/oauth/token").status_code == 405
    for code in ("", "x", "\x00" * 9, "AAAA-AAAA", "É" * 20):
        assert alice.get("/login/device", {"code": code}).status_code in (200, 400, 404)
    assert not Token.objects.filter(account=people.alice).exists()


def test_a_token_signs_nobody_in_and_forged_forms_fail(people: People) -> None:
    asked = begin()
    by_token = as_(people.alice)
    by_token.post("/login/device", {"code": asked["user_code"], "answer": "allow"})
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(people.alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert strict.post("/login/device", {"code": asked["user_code"], "answer": "allow"}).status_code == 403
    assert poll(asked)["error"] == "authorization_pending"
    devices.begin(client="x", address="y")
    assert not DeviceLogin.objects.filter(token=None, expires_at__lt=timezone.now()).exists()


@pytest.mark.slow
def test_the_client_itself(live_hub: LiveHub, tmp_path: Path) -> None:
    """`hf auth login` prints a code; a person signs in by a form and confirms it; the client is in."""
    live_hub.manage("create_account", "wire-dora", "--password", PASSWORD)
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path), "HF_ENDPOINT": live_hub.url,
                 "HF_HUB_DISABLE_UPDATE_CHECK": "1", "PYTHONUNBUFFERED": "1"}  # fmt: skip
    hf = str(Path(sys.executable).with_name("hf"))
    login = subprocess.Popen([hf, "auth", "login"], env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert login.stdout
    said = ""
    while not (found := re.search(r"http://\S+/login/device\?code=([A-Z]{4}-[A-Z]{4})", said)):
        line = login.stdout.readline()
        assert line, said
        said += line
    session = requests.Session()
    session.get(f"{live_hub.url}/accounts/login/", timeout=30)
    form = {"login": "wire-dora", "password": PASSWORD, "csrfmiddlewaretoken": session.cookies["csrftoken"],
            "next": f"/login/device?code={found[1]}"}  # fmt: skip
    page = session.post(f"{live_hub.url}/accounts/login/", form, headers={"Referer": live_hub.url}, timeout=30)
    assert found[1] in page.text
    form = {"code": found[1], "answer": "allow", "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    session.post(f"{live_hub.url}/login/device", form, headers={"Referer": live_hub.url}, timeout=30)
    rest, _ = login.communicate(timeout=60)
    assert login.returncode == 0, said + rest
    who = subprocess.run([hf, "auth", "whoami"], env=variables, capture_output=True, text=True, check=True, timeout=60)
    assert "wire-dora" in who.stdout
