"""Systems: a base, accepted specialists at pinned revisions and a router come in as one manifest; releases leave.

A System is a repo of kind `system` whose system.json pins everything, so proposals, review, history and download are
those of every repo; manifest.py and routed.py are pure. Never here: deciding who may accept, or training anything.
"""
