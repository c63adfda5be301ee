"""Drawings of a teaching, for pages that only hold its row."""

from django import template
from django.utils.safestring import SafeString

from merges.models import Teaching
from merges.pages.teaching import drawn

register = template.Library()


@register.simple_tag
def training_curves(row: Teaching) -> dict[str, SafeString]:
    """`loss_drawing` and `accuracy_drawing` of a teaching, and its `points`."""
    return drawn(row)
