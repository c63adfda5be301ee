"""The pages, as Django knows them."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    """Templates and template tags of the site."""

    name = "hub.pages"
    label = "pages"
    verbose_name = "Pages"
