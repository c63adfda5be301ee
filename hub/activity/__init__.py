"""REMEMBERS what happened.

One event per write comes in; histories and feeds leave.
Nothing is decided by reading events.
"""
