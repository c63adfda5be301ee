"""Pages as tests read them."""

import re

from django.http import HttpResponse


def markup(answer: HttpResponse) -> str:
    """A page's HTML as a browser reads it: white space is one space, and none stands beside a tag."""
    return re.sub(r" ?([<>]) ?", r"\1", " ".join(answer.content.decode().split()))
