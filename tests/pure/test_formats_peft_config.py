"""adapter_config.json: our schema, safe patterns, and what is handed on to peft."""

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.formats.errors import FormatError
from adapters.formats.patterns import NamePattern, compiled
from adapters.formats.peft_config import PeftConfig, parse_config
from tests import make_adapters
from tests.make_adapters import ia3_config, lora_config

HOSTILE = make_adapters.hostile_configs()
QUERY = "bert.encoder.layer.1.attention.self.query"


def lora(**changes: object) -> PeftConfig:
    return parse_config(json.dumps(lora_config(**changes)).encode())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_config_is_refused_at_once(name: str) -> None:
    data, code = HOSTILE[name]
    started = time.process_time()
    with pytest.raises(FormatError) as caught:
        parse_config(data)
    assert caught.value.code == code
    assert time.process_time() - started < 1


def test_known_keys_are_read_and_others_only_kept() -> None:
    config = lora(invented=1, auto_mapping={"base_model_class": "X", "parent_library": "os"})
    assert (config.rank, config.alpha, config.base_model, config.method_label) == (2, 4, "acme/tiny-bert", "LoRA")
    assert set(config.unknown) == {"invented", "auto_mapping"}
    handed_on = json.loads(config.sanitised([QUERY]))
    assert not {"invented", "auto_mapping", "peft_version"} & set(handed_on)
    assert handed_on["base_model_name_or_path"] is None
    assert handed_on["target_modules"] == [QUERY]


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "LoRA"),
        ({"use_rslora": True}, "rsLoRA"),
        ({"use_dora": True}, "DoRA"),
        ({"use_dora": True, "use_rslora": True}, "DoRA (rank-stabilised)"),
    ],
)
def test_method_labels(changes: dict, label: str) -> None:
    assert lora(**changes).method_label == label


def test_ranks_and_scalings_follow_the_patterns() -> None:
    config = lora(rank_pattern={r"layer\.1\..*query": 8, "value": 16}, alpha_pattern={"query": 32})
    assert config.rank_of(QUERY) == 8
    assert config.rank_of("bert.encoder.layer.0.attention.self.query") == 2
    assert config.rank_of("bert.encoder.layer.0.attention.self.value") == 16
    assert config.scaling_of(QUERY) == 4
    assert lora(use_rslora=True, r=16, lora_alpha=8).scaling_of("x") == 2
    handed_on = json.loads(config.sanitised([QUERY, "a.value"]))
    assert handed_on["rank_pattern"] == {QUERY: 8, "a.value": 16}
    assert handed_on["alpha_pattern"] == {QUERY: 32}


def test_targets_follow_peft() -> None:
    config = lora(target_modules=["self.query", "dense"], exclude_modules=["output.dense"])
    assert config.targets(QUERY) is True
    assert config.targets("a.output.dense") is False
    assert config.targets("a.intermediate.dense") is True
    assert config.targets("a.xself.query") is False
    layered = lora(layers_to_transform=[1])
    assert layered.targets(QUERY) is True
    assert layered.targets(QUERY.replace(".1.", ".0.")) is False
    assert lora(target_modules="all-linear").targets(QUERY) is None
    assert lora(target_modules=r".*layer\.[01]\..*(query|key)").targets(QUERY) is True


def test_patterns_are_handed_on_only_as_lists() -> None:
    config = lora(target_modules=r".*\.(query|value)$")
    with pytest.raises(FormatError, match="together with the weights"):
        config.sanitised()
    assert json.loads(config.sanitised([QUERY]))["target_modules"] == [QUERY]
    assert json.loads(lora().sanitised())["target_modules"] == ["query", "value"]


def test_ia3_feedforward_modules_are_resolved() -> None:
    config = parse_config(json.dumps(ia3_config(feedforward_modules=r".*output\.dense")).encode())
    handed_on = json.loads(config.sanitised(["a.output.dense", "a.key"]))
    assert handed_on["feedforward_modules"] == ["a.output.dense"]


@pytest.mark.parametrize(
    "changes",
    [{"init_lora_weights": "pissa_niter_4"}, {"layer_replication": [[0, 2]]}, {"trainable_token_indices": [1]}],
)
def test_variants_that_would_give_other_results_are_not_handed_on(changes: dict) -> None:
    with pytest.raises(FormatError) as caught:
        lora(**changes).sanitised([QUERY])
    assert caught.value.code == "unsupported"


def test_prompt_tuning_loses_what_would_be_fetched() -> None:
    config = {
        "peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4, "token_dim": 8,
        "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "x", "tokenizer_name_or_path": "../../etc",
        "tokenizer_kwargs": {"trust_remote_code": True},
    }  # fmt: skip
    handed_on = json.loads(parse_config(json.dumps(config).encode()).sanitised())
    assert not [key for key in handed_on if "tokenizer" in key or "init" in key]


def test_a_list_target_beside_layers_is_needed() -> None:
    with pytest.raises(FormatError) as caught:
        lora(target_modules=".*query", layers_to_transform=[0])
    assert caught.value.code == "config_conflict"


PIECES = st.recursive(
    st.sampled_from(["a", "b", r"\.", ".", r"\d", "[ab0-2]", ".*", "a+", "b?", ".*?", r"\d+"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        inner.map(lambda text: f"(?:{text})?"),
    ),
    max_leaves=6,
)


@given(PIECES, st.text("ab.01", max_size=8))
def test_patterns_match_as_python_does(pattern: str, name: str) -> None:
    assert NamePattern(pattern).fullmatch(name) == (re.fullmatch(pattern, name) is not None)
    expected = re.match(rf"(.*\.)?({pattern})$", name) is not None
    assert NamePattern(pattern, dotted_end=True).fullmatch(name) == expected


def code_of(action: Callable[[], object]) -> str | None:
    """The code of the FormatError that an action raises, if it raises one."""
    try:
        action()
    except FormatError as error:
        return error.code
    return None


@given(st.text(max_size=30))
def test_no_pattern_does_anything_but_compile_or_refuse(text: str) -> None:
    code = code_of(lambda: NamePattern(text))
    assert code in (None, "pattern")
    if code is None:
        name = "model.layers.0.query"
        assert NamePattern(text).fullmatch(name) == (re.fullmatch(text, name) is not None)


@pytest.mark.parametrize("pattern", [".*a" * 80, ".?" * 120, ".*a" + ".?" * 120, "(a?" * 8 + "b" + ")?" * 8])
def test_costly_patterns_end_quickly(pattern: str) -> None:
    started = time.process_time()
    assert code_of(lambda: compiled(pattern).fullmatch("abbabababaaaabbaababababbababbabb" * 30)) in (None, "pattern")
    assert time.process_time() - started < 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(sorted({*lora_config(), "rank_pattern", "layers_to_transform", "init_lora_weights", "bias"})),
)
def test_any_value_of_any_key_is_taken_or_refused(value: object, key: str) -> None:
    data = json.dumps(lora_config(**{key: value})).encode()
    if code_of(lambda: parse_config(data)) is None:
        assert code_of(lambda: json.loads(parse_config(data).sanitised([QUERY]))) in (None, "unsupported")


class GivingWay(list[frozenset[int]]):
    """A list that lets other threads run whenever its length was asked."""

    def __len__(self) -> int:
        count = super().__len__()
        time.sleep(0.001)
        return count


def test_one_pattern_is_matched_by_many_threads_at_once() -> None:
    text = "(a|b|c)?x*[a-f0-9]*.*(q|w)?[a-z]*"
    names = ["axfq", "bfw", "xxa0", "0q", "wz", "q.."]
    pattern, gate = NamePattern(text), threading.Barrier(len(names))
    pattern._sets = GivingWay(pattern._sets)

    def match(name: str) -> bool:
        gate.wait()
        return pattern.fullmatch(name)

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(match, names)) == [re.fullmatch(text, name) is not None for name in names]
    assert len(set(pattern._sets)) == len(pattern._sets) == len(pattern._numbers), "each set has one number"
    assert all(pattern._sets[number] == states for states, number in pattern._numbers.items())
