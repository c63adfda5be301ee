"""TELLS programs what is known of repos: found by search, measured, judged, descended, compared.

Requests under `/api/v1/` come in; facts with where they come from leave.
Nothing is measured here, and an unreadable repo is never named.
"""
