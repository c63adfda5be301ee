"""TEACHES for people: a few examples come in, a task repo and a job leave at once, a published specialist later.

asking.py takes the order, data.py keeps the examples as a task, running.py is the job, comparing.py its honest judge.
Never here: a loss, a gradient, or a second way to publish; those are merges/training and the hub's one door.
"""
