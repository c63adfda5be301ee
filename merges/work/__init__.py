"""WORKS for people: merges and evaluations, asked for, linted, queued, run and published.

A recipe or a pair of subject and task comes in; a Job leaves at once, and later a commit or an Evaluation.
The numbers are worked out in the pure rooms beside; nothing is published but through the hub's one door.
"""
