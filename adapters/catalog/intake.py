"""What the hub's door asks this room about a file on its way in: is it what its name says?"""

from __future__ import annotations

from adapters.formats.errors import FormatError
from adapters.formats.peft_config import parse_config
from adapters.formats.safetensors_header import header_size, parse_header
from hub.repos.policy import Candidate, Refused


def validate(candidate: Candidate) -> None:
    """Refuse safetensors whose header lies and adapter configs that cannot be read. Raises Refused."""
    try:
        if candidate.suffix == ".safetensors":
            size = header_size(candidate.read(0, 8), candidate.size)
            parse_header(candidate.read(8, 8 + size), candidate.size)
        elif candidate.path.rpartition("/")[2] == "adapter_config.json":
            parse_config(candidate.read(0, candidate.size))
    except FormatError as error:
        raise Refused(candidate.path, str(error), code=error.code) from error
