"""KEEPS bytes by their sha256 in S3, each as one object or as ranges of chunks, entirely or not at all.

Streams, finished uploads and xorbs come in; blobs, ranges and presigned addresses leave.
No name, owner or meaning of a file is known here, and only objects.py talks to S3.
"""
