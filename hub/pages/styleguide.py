"""Every part of the look on one page, with data as real pages have it. Routed in DEBUG only."""

# ruff: noqa: E501  # sample data reads best one row a line

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

CARD = """# MiniLM reads AWS operations

Tells which of **twelve services** an operation description belongs to. Trained from 560 sentences in 41 s on two cores.

- [x] evaluated on `acme/aws-services`
- [ ] evaluated on longer descriptions[^1]

| split | examples | accuracy |
|:------|---------:|---------:|
| validation | 70 | 0.914 |
| test | 141 | 0.901 |

```python
from peft import PeftModel
model = PeftModel.from_pretrained(base, "alice/minilm-aws-services")  # rank 8
```

> Descriptions shorter than five words are often ambiguous.

[^1]: More than 200 tokens are cut by the tokenizer.
"""


class SampleForm(forms.Form):
    """One field of each sort, so that their looks can be compared."""

    name = forms.CharField(max_length=96, help_text="Letters, digits, '-', '_' or '.'.")
    summary = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}))
    method = forms.ChoiceField(choices=[("ties", "TIES"), ("mean", "Mean"), ("task_arithmetic", "Task arithmetic")])
    density = forms.FloatField(min_value=0, max_value=1, initial=1.4, help_text="Share of values kept, 0 to 1.")
    kind = forms.ChoiceField(choices=[("adapter", "Adapter"), ("task", "Task")], widget=forms.RadioSelect)
    private = forms.BooleanField(required=False, help_text="Only you and your team see it.")


def styleguide(request: HttpRequest) -> HttpResponse:
    """The style guide."""
    messages.success(request, "minilm-aws-services has a new commit, 4f2a9c1.")
    messages.error(request, "adapter_model.safetensors was refused: it ends before its last tensor. Upload it again.")
    form = SampleForm({"name": "minilm aws", "density": "1.4", "method": "ties"})
    page = Paginator(range(412), 30).get_page(4)
    return render(request, "hub/styleguide.html", {
        "card": CARD, "form": form, "page_obj": page, "repos": _repos(), "facets": _facets(), "facts": _facts(),
        "checks": _checks(), "jobs": _jobs(), "snippets": _snippets(), "entries": _entries(), "commits": _commits(),
        "scores": _scores(), "heat": _heat(), "changes": _changes(), "labels": _labels(), "states": _STATES,
        "colours": ("heat-0", "heat-1", "heat-2", "heat-3", "heat-4"),
    })  # fmt: skip


_STATES = (
    "pass", "warn", "fail", "pending", "queued", "running", "succeeded", "failed", "cancelled", "open", "approve",
    "request_changes", "reject", "merged", "closed", "private",
)  # fmt: skip


def _ago(**span: float) -> Any:
    return timezone.now() - timedelta(**span)


def _repos() -> list[dict[str, Any]]:
    return [
        {"kind": "adapter", "owner": "alice", "name": "minilm-aws-services", "url": "#", "verdict": "pass",
         "summary": "Tells which of twelve AWS services an operation description belongs to.", "score": 0.901,
         "base": "sentence-transformers/all-MiniLM-L6-v2", "task": "acme/aws-services", "method": "LoRA", "rank": 8,
         "parameters": 147_456, "licence": "apache-2.0", "downloads": 1_284, "updated_at": _ago(hours=3)},
        {"kind": "merge", "owner": "bob", "name": "minilm-aws-ties", "url": "#", "verdict": "warn", "score": 0.874,
         "summary": "TIES of two specialists, density 0.5.", "method": "ties", "rank": 16, "parameters": 294_912,
         "base": "sentence-transformers/all-MiniLM-L6-v2", "licence": "apache-2.0", "updated_at": _ago(days=2)},
        {"kind": "task", "owner": "acme", "name": "aws-services", "url": "#", "licence": "apache-2.0", "private": True,
         "summary": "705 first sentences of operation descriptions, twelve services, balanced.", "downloads": 57,
         "updated_at": _ago(days=40)},
        {"kind": "base", "owner": "sentence-transformers", "name": "all-MiniLM-L6-v2", "url": "#", "verdict": "pass",
         "summary": "A sentence encoder of six layers, the base of 38 adapters here.", "parameters": 22_713_216,
         "licence": "apache-2.0", "downloads": 20_411, "updated_at": _ago(days=400)},
    ]  # fmt: skip


def _facets() -> list[dict[str, Any]]:
    def options(*rows: tuple[str, int, bool]) -> list[dict[str, Any]]:
        return [
            {"value": label, "label": label.split("/")[-1], "title": label, "count": count, "selected": on}
            for label, count, on in rows
        ]

    return [
        {"name": "kind", "title": "Kind", "options": options(("adapter", 312, True), ("base", 6, False), ("task", 94, False))},
        {"name": "base", "title": "Base", "options": options(
            ("sentence-transformers/all-MiniLM-L6-v2", 201, True), ("HuggingFaceTB/SmolLM2-135M-Instruct", 111, False))},
        {"name": "method", "title": "Method", "options": options(("LoRA", 280, False), ("IA3", 24, False), ("DoRA", 8, False))},
        {"name": "licence", "title": "Licence", "options": options(("apache-2.0", 301, False), ("mit", 88, False))},
    ]  # fmt: skip


def _facts() -> list[dict[str, Any]]:
    return [
        {"label": "Base", "value": "all-MiniLM-L6-v2", "source": "claimed", "url": "#"},
        {"label": "Method", "value": "LoRA, rank 8, α 16", "source": "measured"},
        {"label": "Modules", "value": "query, value × 6 layers", "source": "measured"},
        {"label": "Parameters", "value": "147,456 (0.65% of the base)", "source": "measured"},
        {"label": "Type", "value": "float32", "source": "measured"},
        {"label": "Accuracy", "value": "0.901 on acme/aws-services", "source": "computed", "job_url": "#", "url": "#"},
        {"label": "Language", "value": "English", "source": "claimed"},
        {"label": "Licence", "value": "apache-2.0", "source": "claimed"},
    ]


def _checks() -> list[dict[str, Any]]:
    return [
        {"name": "Header", "verdict": "pass", "summary": "24 tensors, no holes, no overlaps.", "at": _ago(hours=3)},
        {
            "name": "Shapes fit the base",
            "verdict": "fail",
            "at": _ago(hours=3),
            "summary": "layer.3.query: lora_A expects 384 inputs, the file has 768. Was it trained on another base?",
            "details": "encoder.layer.3.attention.self.query\n  lora_A  8 × 768   expected 8 × 384\n  lora_B  384 × 8   fits",
        },
        {"name": "Values", "verdict": "warn", "summary": "lora_B is all zero in 2 of 12 modules: they change nothing."},
        {"name": "Evaluation", "verdict": "running", "summary": "Running on acme/aws-services.", "url": "#"},
    ]


def _jobs() -> list[dict[str, Any]]:
    return [
        {
            "id": 81,
            "url": "#",
            "title": "Evaluate alice/minilm-aws-services",
            "state": "running",
            "done": 96,
            "total": 141,
            "note": "Test split, batch 6 of 9",
            "seconds": 14.2,
            "can_cancel": True,
            "attempt": 2,
        },
        {
            "id": 80,
            "url": "#",
            "title": "Merge minilm-aws-ties",
            "state": "succeeded",
            "finished": True,
            "seconds": 2.6,
            "result_url": "#",
        },
        {
            "id": 79,
            "url": "#",
            "title": "Inspect 91bc04e",
            "state": "failed",
            "finished": True,
            "seconds": 0.4,
            "error": "The worker stopped three times while reading this file. The file is unchanged; try again later.",
        },
    ]


def _snippets() -> list[dict[str, str]]:
    return [
        {"title": "peft", "language": "python", "code": 'from peft import PeftModel\nfrom transformers import AutoModel\n\n'
         'base = AutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")\n'
         'model = PeftModel.from_pretrained(base, "alice/minilm-aws-services", revision="4f2a9c1")'},
        {"title": "hf", "language": "bash", "code": "export HF_ENDPOINT=http://127.0.0.1:8000\n"
         "hf download alice/minilm-aws-services --revision 4f2a9c1"},
        {"title": "curl", "language": "bash", "code": "curl -LO http://127.0.0.1:8000/alice/minilm-aws-services/"
         "resolve/4f2a9c1/adapter_model.safetensors"},
    ]  # fmt: skip


def _entries() -> list[dict[str, Any]]:
    commit = {"title": "Train two epochs longer", "url": "#", "at": _ago(hours=3)}
    first = {"title": "First version", "url": "#", "at": _ago(days=9)}
    return [
        {"name": "heads", "url": "#", "folder": True, "commit": first},
        {"name": "README.md", "url": "#", "size": 1_842, "commit": commit, "download_url": "#"},
        {"name": "adapter_config.json", "url": "#", "size": 731, "commit": first, "download_url": "#"},
        {"name": "adapter_model.safetensors", "url": "#", "size": 596_312, "large": True, "commit": commit,
         "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "download_url": "#"},
    ]  # fmt: skip


def _commits() -> list[dict[str, Any]]:
    return [
        {"sha": "4f2a9c1e88d0", "title": "Train two epochs longer", "url": "#", "author": "alice", "author_url": "#",
         "at": _ago(hours=3), "verdict": "pass", "refs": ["main"]},
        {"sha": "91bc04e5aa17", "title": "First version", "url": "#", "author": "Bob Marley", "at": _ago(days=9),
         "verdict": "warn", "refs": []},
    ]  # fmt: skip


def _scores() -> list[dict[str, Any]]:
    return [
        {
            "name": "alice/minilm-aws-services",
            "kind": "adapter",
            "value": 0.901,
            "low": 0.852,
            "high": 0.95,
            "n": 141,
            "gain": 0.114,
        },
        {
            "name": "bob/minilm-aws-ties",
            "kind": "merge",
            "value": 0.874,
            "low": 0.819,
            "high": 0.929,
            "n": 141,
            "gain": 0.087,
        },
        {"name": "all-MiniLM-L6-v2", "kind": "base", "value": 0.787, "low": 0.719, "high": 0.855, "n": 141},
        {"name": "carol/minilm-ia3", "kind": "adapter", "value": None, "n": None},
    ]


def _heat() -> list[tuple[str, float]]:
    return [
        (f"layer.{index // 8}.{index % 8}", (index * 37 % 23 / 23) ** 2 if index % 5 else 0.0) for index in range(48)
    ]


def _changes() -> list[dict[str, Any]]:
    name = "base_model.model.encoder.layer.{}.attention.self.query.lora_{}.weight"
    return [
        {"name": name.format(0, "A"), "status": "changed", "shape": (8, 384), "dtype": "float32", "relative_norm": 0.0312,
         "cosine_distance": 0.0005, "share_changed": 1.0},
        {"name": name.format(0, "B"), "status": "unchanged", "shape": (384, 8), "dtype": "float32", "relative_norm": 0.0,
         "cosine_distance": 0.0, "share_changed": 0.0},
        {"name": name.format(1, "A"), "status": "added", "shape": (8, 384), "dtype": "float32"},
    ]  # fmt: skip


def _labels() -> list[dict[str, Any]]:
    counts = (("ec2", 84), ("s3", 71), ("iam", 66), ("lambda", 52), ("sqs", 18))
    return [{"label": label, "count": count, "share": count / 84} for label, count in counts]
