"""TAKES ORDERS for merges and evaluations from programs, and tells what became of them.

Recipes, and pairs of subject and task, come in; jobs, reports and scores leave.
Nothing is computed here, and no work is queued that the linter or the rights forbid.
"""
