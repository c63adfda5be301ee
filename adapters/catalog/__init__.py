"""KNOWS each adapter, base and task.

Commits come in; facts, checks, tags and lineage leave.
No number is worked out here: that is the pure rooms' part.
"""
