"""Measures what merging by statistics needs, once, from an adapter and its task's data.

A base, an adapter and labelled texts come in; the diagonal Fisher of every ΔW, the Gram of every layer's inputs and the
task's mean feature leave as safetensors, so that others merge without ever seeing the texts.
"""
