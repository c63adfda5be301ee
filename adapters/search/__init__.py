"""FINDS repos: by words, by facets, in an order.

What a person typed and ticked comes in; a QuerySet of repos they may read, and the counts of every facet, leave.
Nothing here reads a file, and nothing private is ever counted for a stranger.
"""
