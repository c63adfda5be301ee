"""Understands what is inside a file, what changed between two files, and what task an adapter is for.

Bytes, paths and headers come in from hub; facts, findings and comparisons leave.
Nothing here stores bytes, decides who may see them, or makes new weights.
"""
