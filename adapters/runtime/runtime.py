"""One loaded base with many adapters: features, logits and label scores of batches of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import PeftModel

from adapters.runtime.adapter_files import AdapterFiles, read_adapter
from adapters.runtime.attaching import Attachments, Replacing
from adapters.runtime.bases import Family, Task, family_of, load_model, load_tokenizer, longest_input
from adapters.runtime.batching import Batches, run_over, tokenised
from adapters.runtime.choices import ChoiceReader, declares_together, tried_together
from adapters.runtime.encdec import EncoderDecoder
from adapters.runtime.errors import RuntimeFault
from adapters.runtime.likelihood import label_tokens, prompt_tokens
from adapters.runtime.progress import Progress, silent
from adapters.runtime.quiet import choose_device


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
        self._attachments = Attachments(self._model, self.family, self.task, self.device)
        self._together: bool | None = None

    @property
    def plain_model(self) -> Any:
        """The base itself, without any adapter."""
        return self._model

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the attached adapters, in order of attachment."""
        return self._attachments.names

    def labels(self, name: str) -> tuple[str, ...] | None:
        """The label order the adapter (or its head file) declares in labels.json, None when it declares none."""
        return self._attachments.named(name).labels

    def outputs(self, name: str) -> int | None:
        """How many outputs the adapter's head has, None when it brings no head."""
        return self._attachments.named(name).outputs

    def model(self, adapter: str | None = None) -> tuple[Any, dict[str, torch.Tensor]]:
        """The torch module with this adapter switched on, and the parameters it replaces, for maths done elsewhere."""
        return self._attachments.switched_on(adapter)

    def attach(self, name: str, folder: Path, head: Path | None = None) -> None:
        """Attach the adapter in `folder` under `name`, with its own head or a head file. Raises RuntimeFault."""
        self.attach_files(name, read_adapter(folder, head))

    def attach_files(self, name: str, files: AdapterFiles) -> None:
        """Attach an adapter that is in memory already. Raises RuntimeFault."""
        self._attachments.attach(name, files)

    def detach(self, name: str) -> None:
        """Forget an adapter and free its memory."""
        self._attachments.detach(name)

    def prepare(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None = None, *, batch_size: int = 32
    ) -> Batches:
        """Tokenise texts once for any number of passes by any adapters."""
        return tokenised(self.tokenizer, texts, pairs, self.max_length, batch_size)

    def model_of(self, adapter: str | None) -> Any:
        """What to call for the outputs of the base, or of one attached adapter with what it replaces."""
        model, replaced = self._attachments.switched_on(adapter)
        return Replacing(model, replaced) if replaced else model

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
        model, _ = self._attachments.switched_on(adapter)
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise RuntimeFault("A prompt-tuned adapter has no features of its own. Use its outputs, or LoRA or IA3.")
        whole = model.get_base_model() if isinstance(model, PeftModel) else model
        body = whole.get_encoder() if self.family == "seq2seq" else whole.base_model

        def pooled(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            hidden = body(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(2).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            return torch.nn.functional.normalize(mean, dim=1) if normalise else mean

        return run_over(self._ready(texts, pairs, batch_size), pooled, self.device, progress, "Reading texts")

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
        caller = Replacing(*self._attachments.switched_on(adapter))
        ready = self._ready(texts, pairs, batch_size)
        return run_over(ready, lambda batch: caller(**batch).logits, self.device, progress, "Predicting")

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
            return self.encoder_decoder(adapter).label_likelihoods(prompts, labels, batch_size, progress)
        tails = label_tokens(self.tokenizer, labels, self.max_length)
        heads = prompt_tokens(self.tokenizer, prompts, self.max_length - max(map(len, tails), default=0))
        reader = self.choices(adapter)
        sums, counts = reader.scores(heads, tails, at_once=batch_size, progress=progress)
        return sums.numpy(), counts.numpy()

    def choices(self, adapter: str | None) -> ChoiceReader:
        """What scores choices behind prompts; how the base is able to is tried once."""
        if self._together is None:
            self._together = tried_together(self._model, self.tokenizer.pad_token_id, self.device)
        model, _ = self._attachments.switched_on(adapter)
        return ChoiceReader(
            self.model_of(adapter), self.tokenizer.pad_token_id, self.device,
            together=self._together and declares_together(model),
        )  # fmt: skip

    def encoder_decoder(self, adapter: str | None) -> EncoderDecoder:
        """What scores labels and writes answers with a base that reads one text and writes another."""
        return EncoderDecoder(
            self.model_of(adapter), self._model, self.tokenizer, self.device, max_length=self.max_length
        )

    def differentiable(self, adapter: str) -> tuple[Any, Callable[..., Any]]:
        """The adapted model, and a call of it with the adapter's head, outside inference mode."""
        model, replaced = self._attachments.switched_on(adapter)
        return model, Replacing(model, replaced)

    def _ready(self, texts: Sequence[str] | Batches, pairs: Sequence[str | None] | None, batch_size: int) -> Batches:
        return texts if isinstance(texts, Batches) else self.prepare(texts, pairs, batch_size=batch_size)
