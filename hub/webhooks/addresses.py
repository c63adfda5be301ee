"""Where a webhook may go: public addresses only, looked up once, and that very address is called.

Otherwise an address could be made to point into the hub's own network after it was looked at.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError

READ_BYTES = 4096
SECONDS = 10.0
"""So long a whole delivery may take once its host is looked up. A socket's own timeout begins anew with every byte."""


class Unreachable(Exception):
    """It could not be delivered; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What the other side said."""

    status: int


def is_public(address: str) -> bool:
    """May this IP address be called?"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner)) and ip.ipv4_mapped is not None
    return bool(ip.is_global) and not ip.is_multicast and not ip.is_reserved


def check_literal(host: str) -> None:
    """Refuse an address written as a private IP, or a name that is one by convention. Raises ValidationError."""
    if settings.WEBHOOK_PRIVATE_ADDRESSES:
        return
    try:
        public = is_public(host.strip("[]"))
    except ValueError:
        public = host.lower() != "localhost" and not host.lower().endswith((".localhost", ".local", ".internal"))
    if not public:
        raise ValidationError(f"{host} is not a public address; webhooks go to public addresses only.")


def lookup(host: str, port: int) -> str:
    """One public address of a host. A name with any private address is refused. Raises Unreachable."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{host} has no address.") from error
    addresses = [str(row[4][0]) for row in found]
    if not addresses:
        raise Unreachable(f"{host} has no address.")
    if not settings.WEBHOOK_PRIVATE_ADDRESSES and not all(is_public(address) for address in addresses):
        raise Unreachable(f"{host} is not a public address.")
    return addresses[0]


def post(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Send bytes to a public address. Redirects are not followed. Raises Unreachable."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise Unreachable("The port of the address is no number.") from error
    connection = _Pinned(host, port, lookup(host, port), secure=parts.scheme == "https")
    deadline = threading.Timer(SECONDS, connection.give_up)
    deadline.daemon = True
    deadline.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read(READ_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if connection.late or isinstance(error, TimeoutError):
            raise _too_slow(host) from error
        raise Unreachable(f"{host} does not answer: {type(error).__name__}.") from error
    finally:
        deadline.cancel()
        connection.close()
    if connection.late:
        raise _too_slow(host)
    return Answer(answer.status)


def _too_slow(host: str) -> Unreachable:
    return Unreachable(f"{host} did not answer within {SECONDS:g} seconds.")


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the name means meanwhile; certificates are checked for the name."""

    def __init__(self, host: str, port: int, address: str, *, secure: bool) -> None:
        super().__init__(host, port, timeout=SECONDS)
        self._address, self._secure = address, secure
        self._open: socket.socket | None = None  # `sock` is taken away while an answer is still being read
        self.late = False
        if secure:
            self.default_port = 443  # type: ignore[misc]  # so that the Host header is written as for https

    def connect(self) -> None:
        """Connect to the pinned address."""
        self.sock = self._open = socket.create_connection((self._address, self.port), timeout=SECONDS)
        if self._secure:
            context = ssl.create_default_context()
            self.sock = self._open = secured = context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self._check()
            secured.do_handshake()
        self._check()

    def give_up(self) -> None:
        """End whatever waits for the other side, from another thread."""
        self.late = True
        if self._open is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(self._open, socket.SHUT_RDWR)  # TLS's own would be in the reader's way

    def _check(self) -> None:
        """Raises TimeoutError if it was given up before there was a socket to end."""
        if self.late:
            raise TimeoutError
