"""Load a base from its folder: tokenizer and model, from safetensors only, without running code of the repo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.models.auto import modeling_auto

from adapters.runtime.errors import RuntimeFault
from adapters.runtime.quiet import quiet_and_offline

Family = Literal["encoder", "causal", "seq2seq"]
Task = Literal["classify", "generate"]
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
LONGEST = 512


def family_of(base: Path) -> Family:
    """Whether the base reads whole texts ("encoder"), continues them ("causal") or reads one and writes another
    ("seq2seq"), from its config.json."""
    config = read_config(base)
    model_type = str(config.get("model_type", ""))
    for name in config.get("architectures") or []:
        if name.endswith(("ForCausalLM", "LMHeadModel")):
            return "causal"
        if name.endswith(("ForMaskedLM", "ForSequenceClassification")):
            return "encoder"
        if (
            name.endswith(("ForConditionalGeneration", "MTModel"))
            and model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
        ):
            return "seq2seq"
    if model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder"
    if model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    if model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "seq2seq"
    raise RuntimeFault(
        f"The base's model_type {model_type!r} is unknown here. Use an architecture that transformers has built in."
    )


def read_config(base: Path) -> dict[str, Any]:
    """The base's config.json. Raises RuntimeFault when it is absent or not a JSON object."""
    try:
        config = json.loads((base / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise RuntimeFault("The base has no config.json. Upload the model's config.json beside its weights.") from error
    except (ValueError, RecursionError) as error:
        raise RuntimeFault("The base's config.json is not valid JSON. Upload it again.") from error
    if not isinstance(config, dict):
        raise RuntimeFault("The base's config.json is not a JSON object. Upload it again.")
    return config


def load_tokenizer(base: Path) -> Any:
    """The base's tokenizer, with a padding token in any case. Raises RuntimeFault for a base without one."""
    if not any((base / name).is_file() for name in TOKENIZER_FILES):
        raise RuntimeFault("The base has no tokenizer. Upload tokenizer.json (or vocab.txt) beside its weights.")
    with quiet_and_offline():
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise RuntimeFault(f"The base's tokenizer cannot be read: {first_line(error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise RuntimeFault(
            "The base's tokenizer names no padding, end or unknown token. Add one to tokenizer_config.json."
        )
    return tokenizer


def load_model(base: Path, *, labels: int | None, pad: int) -> Any:
    """The base in float32: a sequence classifier when `labels` is given, else a language model of the base's family.

    The classifier's head is new (random); everything else comes from safetensors. Raises RuntimeFault.
    """
    if not any(base.glob("*.safetensors")):
        raise RuntimeFault(
            "The base has no .safetensors weights. Convert them with save_pretrained() and upload again."
        )
    writes = AutoModelForSeq2SeqLM if family_of(base) == "seq2seq" else AutoModelForCausalLM
    kind = writes if labels is None else AutoModelForSequenceClassification
    with quiet_and_offline():
        try:
            config = AutoConfig.from_pretrained(str(base), local_files_only=True, trust_remote_code=False)
            config.pad_token_id = pad
            if labels is not None:
                config.num_labels = labels
            model = kind.from_pretrained(
                str(base),
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise RuntimeFault(f"The base cannot be loaded: {first_line(error)}") from error
    return model.eval()


def longest_input(model: Any, wanted: int) -> int:
    """The wanted number of tokens, but no more than the model has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa-like models count positions from the padding index on.
    offset = 2 if getattr(model.config, "model_type", "") in {"roberta", "xlm-roberta", "camembert"} else 0
    return min(wanted, (positions - offset) if positions else LONGEST)


def first_line(error: Exception) -> str:
    """The first line of a library's message, short enough for a page."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide a number: torch, transformers, peft, numpy."""
    import numpy
    import peft

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "numpy": numpy.__version__,
    }
