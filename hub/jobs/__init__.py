"""RUNS long work so that it ends once, whatever dies in between.

A kind and its arguments come in; a Job row with progress, result or reason leaves.
What a job does is registered by the rooms above and never known here.
"""
