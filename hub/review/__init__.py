"""JUDGES change requests.

Proposed commits, checks and decisions come in; merged or closed change requests leave.
Nobody decides their own work, and no check is computed here.
"""
