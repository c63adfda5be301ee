"""GATHERS repos under a title, in an order, with a note on each.

Repos come in by name; collections leave, holding only what the reader may see.
Nothing about a repo is changed or decided here.
"""
