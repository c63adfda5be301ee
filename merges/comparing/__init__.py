"""Compares ways of merging: the same inputs through several methods, beside the controls no claim is made without.

A base, adapters with their tasks, and methods come in; accuracies item by item, λ chosen on validation, and a report
with intervals, paired tests and progress leave. Nothing is ever chosen on a test split.
"""
