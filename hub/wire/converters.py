"""Path segments of the wire: repo kinds, revisions with encoded slashes, paths inside a repo."""

from urllib.parse import quote

from django.urls import register_converter

from hub.wsgi import ENCODED_SLASH

_SLASH = f"[/{ENCODED_SLASH}]"
ESCAPED_SLASH = quote(ENCODED_SLASH)
"""How an encoded slash looks in an address that Django wrote out again."""


class RevisionConverter:
    """One quoted segment (`refs%2Fpr%2F1`, `feature%2Fone`), or an unquoted `refs/pr/1`, `refs/convert/x`."""

    regex = rf"refs{_SLASH}(?:pr|convert|heads|tags){_SLASH}[^/]+|[^/]+"

    def to_python(self, value: str) -> str:
        return value.replace(ENCODED_SLASH, "/")

    def to_url(self, value: str) -> str:
        return value.replace("/", "%2F")


class InsideConverter:
    """A path inside a repo; some clients quote its slashes too."""

    regex = ".+"

    def to_python(self, value: str) -> str:
        return value.replace(ENCODED_SLASH, "/")

    def to_url(self, value: str) -> str:
        return value


class KindConverter:
    """`models` or `datasets`: how the wire calls bases and adapters, and tasks."""

    regex = "models|datasets"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(RevisionConverter, "revision")
register_converter(InsideConverter, "inside")
register_converter(KindConverter, "repokind")
