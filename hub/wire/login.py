"""`hf auth login` without a token: the device flow's two addresses, in OAuth's own words."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse

from hub.accounts import devices
from hub.accounts.devices import Granted, NotYet
from hub.wire.asking import WireRequest, absolute, door

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_NO_STORE = {"Cache-Control": "no-store"}


@door("POST", limit="write")
def device(request: WireRequest) -> HttpResponse:
    """`POST /oauth/device`, form `client_id`: a secret for the program, a code for the person."""
    program = request.headers.get("User-Agent", "").partition(";")[0]
    row, secret = devices.begin(client=_plain(program), address=request.META.get("REMOTE_ADDR", ""))
    page = absolute(request, "/login/device")
    return JsonResponse(
        {
            "device_code": secret,
            "user_code": row.code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={row.code}",
            "interval": devices.INTERVAL_SECONDS,
            "expires_in": int(devices.CODE_LIFE.total_seconds()),
        },
        headers=_NO_STORE,
    )


@door("POST", limit="api")
def token(request: WireRequest) -> HttpResponse:
    """`POST /oauth/token`: a device code or a refresh token for an access token."""
    grant = _field(request, "grant_type")
    try:
        if grant == DEVICE_GRANT:
            granted = devices.exchange(_field(request, "device_code"))
        elif grant == "refresh_token":
            granted = devices.refresh(_field(request, "refresh_token"))
        else:
            raise NotYet("unsupported_grant_type", "This hub signs programs in by device code or refresh token.")
    except NotYet as error:
        body = {"error": error.code, "error_description": str(error)}
        return JsonResponse(body, status=400, headers=_NO_STORE)
    return JsonResponse(_shaped(granted), headers=_NO_STORE)


def _shaped(granted: Granted) -> dict[str, str | int]:
    return {
        "access_token": granted.access, "refresh_token": granted.refresh, "expires_in": granted.seconds,
        "token_type": "bearer", "scope": "openid profile",
    }  # fmt: skip


def _field(request: HttpRequest, name: str) -> str:
    return request.POST.get(name, "")[:200]


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isprintable())
