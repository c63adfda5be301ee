"""VERSIONS folders of files as real git objects.

Changes come in through one commit function; commits, trees and files leave.
Nothing becomes downloadable by another way, and no tensor is ever looked into.
"""
