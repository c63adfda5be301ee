"""The content of the demo hub: real texts of installed packages come in, base, task and specialist folders leave.

Everything is deterministic for the installed versions, so that two demo hubs hold the same tasks.
Never here: downloads, invented texts, or publishing; the demo command does that through the real client.
"""
