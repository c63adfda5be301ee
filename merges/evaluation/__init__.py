"""A base or adapter and a task come in; scores with intervals, per-item results and their provenance leave.

metrics.py and harness.py are pure: folders, texts and arrays only, the same on a laptop and on a GPU worker.
Never here: training an adapter, or deciding what the community accepts.
"""
