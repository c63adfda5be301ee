#!/usr/bin/env python
"""Tessera's command line: `python manage.py demo` fills a hub with real content and serves it."""

import os
import sys


def main() -> None:
    """Load the state folder's environment (`--state DIR`), then hand over to Django."""
    from hub.stack import environment

    environment.load(sys.argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
