"""Template tags. In come plain values; out go escaped text and small drawings; no query is ever made here."""
