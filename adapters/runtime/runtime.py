"""One loaded base with many adapters: features, logits and label scores of batches of texts."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
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

from adapters.runtime import encdec
from adapters.runtime.adapter_files import PREFIX, PROMPT, AdapterFiles, read_adapter
from adapters.runtime.bases import Family, family_of, first_line, load_model, load_tokenizer, longest_input
from adapters.runtime.choices import ChoiceReader, declares_together, tried_together
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.likelihood import label_tokens, prompt_tokens
from adapters.runtime.progress import Progress as Progress
from adapters.runtime.progress import silent as silent
from adapters.runtime.quiet import choose_device, quiet_and_offline

Task = Literal["classify", "generate"]
HEAD = re.compile(r"\.(?:classifier|score|out_proj)(?:\.modules_to_save\.\w+)?\.weight$")


@dataclass(frozen=True)
class Batches:
    """Texts tokenised once, in batches of similar length; `rows` says which texts a batch holds. Any adapter of the
    base can be run over them again without tokenising."""

    count: int
    rows: tuple[tuple[int, ...], ...]
    tensors: tuple[dict[str, torch.Tensor], ...]


@dataclass(frozen=True)
class _Attached:
    key: str
    body: str
    replaced: dict[str, torch.Tensor]
    labels: tuple[str, ...] | None


class Runtime:
    """One base in memory and the adapters attached to it; not for use by two threads at once."""

    def __init__(
        self,
        base: Path,
        *,
        task: Task | None = None,
        device: str | None = None,
        threads: int = 1,
        max_length: int = 256,
    ) -> None:
        """Load `base` ("classify": features and logits; "generate": label scores; default: what the base is for).

        `max_length` is in tokens; `threads` is torch's thread count for this process. Raises RuntimeFault.
        """
        torch.set_num_threads(threads)
        self.family: Family = family_of(base)
        self.task: Task = task or ("classify" if self.family == "encoder" else "generate")
        self.device = choose_device(device)
        self.tokenizer = load_tokenizer(base)
        # The head of two labels is a placeholder: every adapter brings its own, and features need none.
        labels = 2 if self.task == "classify" else None
        self._model = load_model(base, labels=labels, pad=self.tokenizer.pad_token_id).to(self.device)
        self.max_length = longest_input(self._model, max_length)
        self._bodies: dict[str, PeftModel] = {}
        self._attached: dict[str, _Attached] = {}
        self._counter = itertools.count()
        self._together: bool | None = None

    @property
    def plain_model(self) -> Any:
        """The base itself, without any adapter."""
        return self._model

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the attached adapters, in order of attachment."""
        return tuple(self._attached)

    def labels(self, name: str) -> tuple[str, ...] | None:
        """The label order the adapter (or its head file) declares in labels.json, None when it declares none."""
        return self._get(name).labels

    def outputs(self, name: str) -> int | None:
        """How many outputs the adapter's head has, None when it brings no head."""
        head = _head_rows(self._get(name).replaced)
        return head[0] if head else None

    def model(self, adapter: str | None = None) -> tuple[Any, dict[str, torch.Tensor]]:
        """The torch module with this adapter switched on, and the parameters it replaces, for maths done elsewhere."""
        return self._active(adapter)

    def attach(self, name: str, folder: Path, head: Path | None = None) -> None:
        """Attach the adapter in `folder` under `name`, with its own head or a head file. Raises RuntimeFault."""
        self.attach_files(name, read_adapter(folder, head))

    def attach_files(self, name: str, files: AdapterFiles) -> None:
        """Attach an adapter that is in memory already. Raises RuntimeFault."""
        if name in self._attached:
            raise RuntimeFault(f"An adapter named {name} is attached already. Detach it first.")
        key = f"a{next(self._counter)}"
        # Each prompt has a module tree of its own: peft puts prompts before the input in the outermost module.
        kind = f"prompt-{key}" if files.config.peft_type == PeftType.PROMPT_TUNING else str(files.config.peft_type)
        with quiet_and_offline():
            body = self._inject(kind, key, files)
            self._attached[name] = _Attached(key, kind, {}, files.labels)
            try:
                replaced = self._checked(body, files.replaced)
            except RuntimeFault:
                self.detach(name)
                raise
        self._attached[name] = _Attached(key, kind, replaced, files.labels)

    def detach(self, name: str) -> None:
        """Forget an adapter and free its memory."""
        attached = self._attached.pop(name)
        body = self._bodies[attached.body]
        if len(body.peft_config) == 1:
            del self._bodies[attached.body]
        else:
            with quiet_and_offline():
                body.delete_adapter(attached.key)

    def prepare(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None = None, *, batch_size: int = 32
    ) -> Batches:
        """Tokenise texts once for any number of passes by any adapters."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        second = second_texts(pairs)
        parts = [tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]
        return Batches(
            len(texts),
            tuple(parts),
            tuple(
                encode(
                    self.tokenizer,
                    [texts[index] for index in part],
                    [second[index] for index in part] if second else None,
                    self.max_length,
                )
                for part in parts
            ),
        )

    def model_of(self, adapter: str | None) -> Any:
        """What to call for the outputs of the base, or of one attached adapter with what it replaces."""
        model, replaced = self._active(adapter)
        return _Replacing(model, replaced) if replaced else model

    def features(
        self,
        texts: Sequence[str] | Batches,
        pairs: Sequence[str | None] | None = None,
        *,
        adapter: str | None = None,
        batch_size: int = 32,
        normalise: bool = False,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Mean of the last layer's vectors over attended tokens, float32 of shape (texts, hidden).

        Frozen base by default; with an adapter, of the adapted base. `normalise` scales each row to length one.
        """
        model, _ = self._active(adapter)
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise RuntimeFault("A prompt-tuned adapter has no features of its own. Use its outputs, or LoRA or IA3.")
        whole = model.get_base_model() if isinstance(model, PeftModel) else model
        body = whole.get_encoder() if self.family == "seq2seq" else whole.base_model

        def pooled(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            hidden = body(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(2).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            return torch.nn.functional.normalize(mean, dim=1) if normalise else mean

        return self._batched(texts, pairs, pooled, batch_size, progress, "Reading texts")

    def logits(
        self,
        texts: Sequence[str] | Batches,
        adapter: str,
        pairs: Sequence[str | None] | None = None,
        *,
        batch_size: int = 32,
        progress: Progress = silent,
    ) -> np.ndarray:
        """The head's outputs before softmax, float32 of shape (texts, labels). Raises RuntimeFault without a head."""
        if self.task != "classify":
            raise RuntimeFault("This base was loaded to continue texts and has no head. Ask for label scores instead.")
        if self.outputs(adapter) is None:
            raise RuntimeFault(
                f"The adapter {adapter} brings no head. Save its classifier with it, or name a head file."
            )
        caller = _Replacing(*self._active(adapter))
        return self._batched(texts, pairs, lambda batch: caller(**batch).logits, batch_size, progress, "Predicting")

    def label_scores(
        self,
        prompts: Sequence[str],
        labels: Sequence[str],
        *,
        adapter: str | None = None,
        normalise: Literal["sum", "mean"] = "mean",
        batch_size: int = 16,
        progress: Progress = silent,
    ) -> np.ndarray:
        """Log-likelihood of each label after each prompt, of shape (prompts, labels), in nats.

        "mean" divides by the label's number of tokens, so that long labels are not punished. Raises RuntimeFault.
        """
        sums, counts = self.label_likelihoods(
            prompts, labels, adapter=adapter, batch_size=batch_size, progress=progress
        )
        return sums / counts if normalise == "mean" else sums

    def label_likelihoods(
        self,
        prompts: Sequence[str],
        labels: Sequence[str],
        *,
        adapter: str | None = None,
        batch_size: int = 16,
        progress: Progress = silent,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums of log p over each label's tokens in nats, and numbers of tokens; both of shape (prompts, labels).

        Raises RuntimeFault for a base that does not continue texts.
        """
        if self.task != "generate":
            raise RuntimeFault("Label scores need a language model. Use the head's logits for this base.")
        if self.family == "seq2seq":
            return encdec.label_likelihoods(self, prompts, labels, adapter, batch_size, progress)
        tails = label_tokens(self.tokenizer, labels, self.max_length)
        heads = prompt_tokens(self.tokenizer, prompts, self.max_length - max(map(len, tails), default=0))
        reader = self.choices(adapter)
        sums, counts = reader.scores(heads, tails, at_once=batch_size, progress=progress)
        return sums.numpy(), counts.numpy()

    def choices(self, adapter: str | None) -> ChoiceReader:
        """What scores choices behind prompts; how the base is able to is tried once."""
        if self._together is None:
            self._together = tried_together(self._model, self.tokenizer.pad_token_id, self.device)
        model, _ = self._active(adapter)
        return ChoiceReader(
            self.model_of(adapter), self.tokenizer.pad_token_id, self.device,
            together=self._together and declares_together(model),
        )  # fmt: skip

    def differentiable(self, adapter: str) -> tuple[Any, Callable[..., Any]]:
        """The adapted model, and a call of it with the adapter's head, outside inference mode."""
        model, replaced = self._active(adapter)
        return model, _Replacing(model, replaced)

    def _batched(
        self,
        texts: Sequence[str] | Batches,
        pairs: Sequence[str | None] | None,
        compute: Callable[[dict[str, torch.Tensor]], torch.Tensor],
        batch_size: int,
        progress: Progress,
        message: str,
    ) -> np.ndarray:
        ready = texts if isinstance(texts, Batches) else self.prepare(texts, pairs, batch_size=batch_size)
        rows: list[np.ndarray | None] = [None] * ready.count
        done = 0
        with torch.inference_mode():
            for part, batch in zip(ready.rows, ready.tensors, strict=True):
                values = compute({name: tensor.to(self.device) for name, tensor in batch.items()}).float().cpu().numpy()
                for index, value in zip(part, values, strict=True):
                    rows[index] = value
                done += len(part)
                progress(done, ready.count, message)
        return np.stack([row for row in rows if row is not None]) if rows else np.zeros((0, 0), dtype=np.float32)

    def _inject(self, kind: str, key: str, files: AdapterFiles) -> PeftModel:
        try:
            body = self._bodies.get(kind)
            if body is None:
                # Own module tree, shared weights: peft allows only one adapter type in a tree.
                memo = {id(t): t for t in itertools.chain(self._model.parameters(), self._model.buffers())}
                body = self._body(copy.deepcopy(self._model, memo), files.config, key)
            else:
                body.add_adapter(key, files.config)
            unexpected = self._fill(body, key, files.tensors)
        except (ValueError, RuntimeError, KeyError) as error:
            if kind in self._bodies and key in self._bodies[kind].peft_config:
                self._bodies[kind].delete_adapter(key)
            raise RuntimeFault(f"The adapter does not fit this base: {first_line(error)}") from error
        if unexpected:
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
        if self.family == "seq2seq":
            raise RuntimeFault("Prompts of encoder-decoder bases cannot be run here yet. Use LoRA or IA3.")
        width = model.get_input_embeddings().weight.shape[1]
        if getattr(config, "token_dim", width) != width:
            raise RuntimeFault(
                f"The adapter's prompt is {config.token_dim} wide, but the base's embeddings are {width}."
            )
        config.task_type = "CAUSAL_LM" if self.task == "generate" else "SEQ_CLS"
        kind = PeftModelForCausalLM if self.task == "generate" else PeftModelForSequenceClassification
        return kind(model, config, key).to(self.device)

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
            if tensor.shape[1:] != old[1:]:
                raise RuntimeFault(
                    f"{name.removeprefix(PREFIX)} has shape {tuple(tensor.shape)}, but the base needs {tuple(old)}."
                )
            placed[where] = tensor.to(self.device)
        return placed

    def _active(self, adapter: str | None) -> tuple[Any, dict[str, torch.Tensor]]:
        if adapter is None:
            return self._model, {}
        attached = self._get(adapter)
        body = self._bodies[attached.body]
        body.set_adapter(attached.key)
        return body, attached.replaced

    def _get(self, name: str) -> _Attached:
        try:
            return self._attached[name]
        except KeyError as error:
            raise RuntimeFault(f"No adapter named {name} is attached.") from error


class _Replacing:
    """A model called with some of its parameters replaced, for the time of each call."""

    def __init__(self, model: Any, replaced: dict[str, torch.Tensor]) -> None:
        self._model, self._replaced = model, replaced
        self.forward = (model.get_base_model() if hasattr(model, "get_base_model") else model).forward

    def __call__(self, **arguments: Any) -> Any:
        return functional_call(self._model, self._replaced, (), arguments)


def second_texts(pairs: Sequence[str | None] | None) -> list[str] | None:
    """The pairs' second texts, None when no row has one; a row without one among others gets an empty text."""
    return [pair or "" for pair in pairs] if pairs and any(pair is not None for pair in pairs) else None


def encode(tokenizer: Any, texts: list[str], pairs: list[str] | None, max_length: int) -> dict[str, torch.Tensor]:
    """Token tensors of a batch, cut to `max_length` tokens and padded to its longest row."""
    return dict(tokenizer(texts, pairs, truncation=True, max_length=max_length, padding="longest", return_tensors="pt"))


def _head_rows(replaced: dict[str, torch.Tensor]) -> tuple[int, str] | None:
    found = [(int(tensor.shape[0]), name) for name, tensor in replaced.items() if HEAD.search(name)]
    return found[-1] if found else None
