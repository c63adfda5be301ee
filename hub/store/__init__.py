"""KEEPS bytes by their sha256 in S3, whole or not at all.

Streams and finished uploads come in; blobs, ranges and presigned addresses leave.
No name, owner or meaning of a file is known here, and only objects.py talks to S3.
"""
