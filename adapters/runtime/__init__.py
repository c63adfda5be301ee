"""A base folder, adapter folders and texts come in; features, logits and label scores leave as numpy arrays.

One base is loaded once, many adapters are attached to it and switched between, on CPU or on CUDA when there is one.
Never here: Django, the network, code shipped with a model, pickled weights, or a configuration peft reads unchecked.
"""
