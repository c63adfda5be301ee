"""The adapters attached to one base: module trees of their own over the base's shared weights, one switched on."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass
from typing import Any

import torch
from peft import (
    PeftConfig,
    PeftModel,
    PeftModelForCausalLM,
    PeftModelForSequenceClassification,
    PeftType,
    set_peft_model_state_dict,
)
from torch.func import functional_call

from adapters.runtime.adapter_files import PREFIX, PROMPT, AdapterFiles
from adapters.runtime.bases import Family, Task, first_line
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.quiet import quiet_and_offline

HEAD = re.compile(r"\.(?:classifier|score|out_proj)(?:\.modules_to_save\.\w+)?\.weight$")


@dataclass(frozen=True)
class Attached:
    """One adapter in memory: its name inside peft, its module tree, and the parameters of the base it replaces."""

    key: str
    body: str
    replaced: dict[str, torch.Tensor]
    labels: tuple[str, ...] | None

    @property
    def outputs(self) -> int | None:
        """How many outputs its head has, None when it brings no head."""
        found = [int(tensor.shape[0]) for name, tensor in self.replaced.items() if HEAD.search(name)]
        return found[-1] if found else None


class Attachments:
    """Adapters by name over one base; which one is switched on changes with every question."""

    def __init__(self, base: Any, family: Family, task: Task, device: torch.device) -> None:
        """`base` is the loaded torch module, on `device` already."""
        self._base, self._family, self._task, self._device = base, family, task, device
        self._bodies: dict[str, PeftModel] = {}
        self._attached: dict[str, Attached] = {}
        self._counter = itertools.count()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the attached adapters, in order of attachment."""
        return tuple(self._attached)

    def named(self, name: str) -> Attached:
        """The adapter of that name. Raises RuntimeFault."""
        try:
            return self._attached[name]
        except KeyError as error:
            raise RuntimeFault(f"No adapter named {name} is attached.") from error

    def attach(self, name: str, files: AdapterFiles) -> None:
        """Attach an adapter that is in memory already. Raises RuntimeFault."""
        if name in self._attached:
            raise RuntimeFault(f"An adapter named {name} is attached already. Detach it first.")
        key = f"a{next(self._counter)}"
        # Each prompt has a module tree of its own: peft puts prompts before the input in the outermost module.
        kind = f"prompt-{key}" if files.config.peft_type == PeftType.PROMPT_TUNING else str(files.config.peft_type)
        with quiet_and_offline():
            body = self._inject(kind, key, files)
            self._attached[name] = Attached(key, kind, {}, files.labels)
            try:
                replaced = self._checked(body, files.replaced)
            except RuntimeFault:
                self.detach(name)
                raise
        self._attached[name] = Attached(key, kind, replaced, files.labels)

    def detach(self, name: str) -> None:
        """Forget an adapter and free its memory."""
        attached = self._attached.pop(name)
        body = self._bodies[attached.body]
        if len(body.peft_config) == 1:
            del self._bodies[attached.body]
        else:
            with quiet_and_offline():
                body.delete_adapter(attached.key)

    def switched_on(self, name: str | None) -> tuple[Any, dict[str, torch.Tensor]]:
        """The torch module with this adapter (None: none) switched on, and the parameters it replaces."""
        if name is None:
            return self._base, {}
        attached = self.named(name)
        body = self._bodies[attached.body]
        body.set_adapter(attached.key)
        return body, attached.replaced

    def _inject(self, kind: str, key: str, files: AdapterFiles) -> PeftModel:
        try:
            body = self._bodies.get(kind)
            if body is None:
                # Own module tree, shared weights: peft allows only one adapter type in a tree.
                memo = {id(t): t for t in itertools.chain(self._base.parameters(), self._base.buffers())}
                body = self._body(copy.deepcopy(self._base, memo), files.config, key)
            else:
                body.add_adapter(key, files.config)
            unexpected = self._fill(body, key, files.tensors)
        except (ValueError, RuntimeError, KeyError) as error:
            if kind in self._bodies and key in self._bodies[kind].peft_config:
                self._bodies[kind].delete_adapter(key)
            raise RuntimeFault(f"The adapter does not fit this base: {first_line(error)}") from error
        if unexpected:
            if kind in self._bodies:
                body.delete_adapter(key)
            raise RuntimeFault(f"The adapter does not fit this base: no place for {unexpected[0]}.")
        self._bodies[kind] = body.eval()
        return body

    def _fill(self, body: PeftModel, key: str, tensors: dict[str, torch.Tensor]) -> list[str]:
        """Copy an adapter's tensors to their places; the names that have none. Raises KeyError, RuntimeError."""
        if PROMPT not in tensors:
            return list(set_peft_model_state_dict(body, tensors, key).unexpected_keys)
        with torch.no_grad():
            prompt: Any = body.prompt_encoder[key]
            prompt.embedding.weight.copy_(tensors[PROMPT])
        return [name for name in tensors if name != PROMPT]

    def _body(self, model: Any, config: PeftConfig, key: str) -> PeftModel:
        if config.peft_type != PeftType.PROMPT_TUNING:
            return PeftModel(model, config, key)
        if self._family == "seq2seq":
            raise RuntimeFault("Prompts of encoder-decoder bases cannot be run here yet. Use LoRA or IA3.")
        width = model.get_input_embeddings().weight.shape[1]
        if getattr(config, "token_dim", width) != width:
            raise RuntimeFault(
                f"The adapter's prompt is {config.token_dim} wide, but the base's embeddings are {width}."
            )
        config.task_type = "CAUSAL_LM" if self._task == "generate" else "SEQ_CLS"
        kind = PeftModelForCausalLM if self._task == "generate" else PeftModelForSequenceClassification
        return kind(model, config, key).to(self._device)

    def _checked(self, body: PeftModel, replaced: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        parameters = dict(body.named_parameters())
        placed = {}
        for name, tensor in replaced.items():
            module, _, leaf = name.rpartition(".")
            plain = f"base_model.{module.removeprefix(PREFIX)}"
            places = (
                name,
                f"{module}.base_layer.{leaf}",
                *(f"{plain}.modules_to_save.{key}.{leaf}" for key in body.peft_config),
            )
            where = next((place for place in places if place in parameters), "")
            if not where:
                raise RuntimeFault(f"The base has no parameter {name.removeprefix(PREFIX)} for the adapter to replace.")
            old = parameters[where].shape
            rows = replaced[f"{module}.weight"].shape[:1] if f"{module}.weight" in replaced else old[:1]
            # A head may have other outputs than the base's, its bias as many as its weight has rows.
            if tensor.ndim != len(old) or (tensor.shape != rows if leaf == "bias" else tensor.shape[1:] != old[1:]):
                raise RuntimeFault(
                    f"{name.removeprefix(PREFIX)} has shape {tuple(tensor.shape)}, but the base needs {tuple(old)}."
                )
            placed[where] = tensor.to(self._device)
        return placed


class Replacing:
    """A model called with some of its parameters replaced, for the time of each call."""

    def __init__(self, model: Any, replaced: dict[str, torch.Tensor]) -> None:
        self._model, self._replaced = model, replaced
        self.forward = (model.get_base_model() if hasattr(model, "get_base_model") else model).forward

    def __call__(self, **arguments: Any) -> Any:
        return functional_call(self._model, self._replaced, (), arguments)
