"""A base folder, labelled examples and settings come in; adapter files and a training curve leave.

The one trainer of the house: LoRA and IA3, for heads on encoders and for label likelihood on causal language models.
Never here: Django, the network, or a base whose own weights are changed.
"""
