"""Imported once by the process that jobs are forked from: Django made ready, no connection opened."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django.setup()
