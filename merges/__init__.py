"""Makes new adapters out of others and out of examples, and judges them.

Recipes, examples and adapters come in from the lower rooms; adapter files, scores and reports leave.
Nothing here stores bytes or decides who may see them.
"""
