"""READS AND WRITES the formats of Xet: chunks, xorbs, shards and their hashes (PURE: bytes and numpy only).

Bytes of files and of the wire come in; verified tables of chunks, cut and packed xorbs, and plans for ranges leave.
No database, store, clock or network is known here, and nothing that was not checked is believed.
"""
