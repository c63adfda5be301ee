"""ENCODES a checkpoint as what others already hold, plus exactly the bits that those do not explain.

A safetensors file and the files it may have come from (parents, a base, an adapter) come in; a recipe and a payload
leave, and from them every byte of the file again, in any range.
Nothing is approximate and nothing is guessed on reading: no BLAS, a fixed order of sums, one rounding, and a checksum
for each block that is handed out.
"""

from adapters.encoding.decode import Decoder
from adapters.encoding.encode import encode
from adapters.encoding.recipe import BLOCK, Recipe
from adapters.encoding.sources import Damaged, FileSources, Sources

__all__ = ["BLOCK", "Damaged", "Decoder", "FileSources", "Recipe", "Sources", "encode"]
