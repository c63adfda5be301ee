"""Runs the hub on one machine: embedded PostgreSQL, Valkey and SeaweedFS, the web server, workers and the scheduler.

What comes in is a state folder and a few variables; what leaves is a set of supervised processes and their addresses.
What never happens here: knowledge of repos, people or jobs, and any change to a service given from outside.
"""
