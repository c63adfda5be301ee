"""Tests on the real services. `tests/pure` needs none of them, nor Django."""
