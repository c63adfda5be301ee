"""CALLS programs elsewhere when something happens that they watch.

Events come in as they are recorded; signed requests leave, from a job, to public addresses only.
Nobody is told of a repo they may not read, and no answer is ever waited for by a person.
"""
