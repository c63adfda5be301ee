"""Random models of a few thousand parameters and a word tokenizer, written to a folder as a base repo holds them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from adapters.runtime.examples import Example

WORDS = (
    "the a dog cat bird runs sleeps eats fast slow red green blue good bad nice awful movie Label : yes no warm cold"
).split()


def write_tokenizer(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(special + WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        eos_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip


def write_encoder(folder: Path, seed: int = 0) -> Path:
    """A BertModel without the `bert.` prefix, as sentence encoders are published."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS) + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]
    return folder


def write_deberta(folder: Path, seed: int = 0) -> Path:
    """An encoder whose query and key modules also read a table of relative positions, once for the whole batch."""
    torch.manual_seed(seed)
    config = DebertaV2Config(
        vocab_size=len(WORDS) + 4, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, relative_attention=True, share_att_key=True, pos_att_type=["c2p", "p2c"],
        position_buckets=8, type_vocab_size=0,
    )  # fmt: skip
    DebertaV2Model(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_causal(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_seq2seq(folder: Path, seed: int = 0, width: int = 32) -> Path:
    """A T5 that reads a text with its encoder and writes with its decoder."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(WORDS) + 4, d_model=width, d_kv=16, d_ff=48, num_layers=2, num_heads=2, pad_token_id=0,
        eos_token_id=3, decoder_start_token_id=0, initializer_factor=3.0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def opinions(count: int, start: int = 0) -> list[Example]:
    """Learnable examples: the adjective decides the label."""
    kinds = [("good", "yes"), ("bad", "no"), ("nice", "yes"), ("awful", "no")]
    nouns, verbs = ("dog", "cat", "bird", "movie"), ("runs", "sleeps", "eats")
    return [
        Example(
            f"the {kinds[i % 4][0]} {nouns[i // 4 % 4]} {verbs[i // 3 % 3]} fast"[: None if i % 5 else -5],
            kinds[i % 4][1],
        )
        for i in range(start, start + count)
    ]
