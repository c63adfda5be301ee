"""How to use a repo at one revision: code that is true for what its files hold."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from hub.repos.models import Commit, Kind, Repo

CLASSES = {"SEQ_CLS": "AutoModelForSequenceClassification", "CAUSAL_LM": "AutoModelForCausalLM",
           "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}  # fmt: skip


def snippets(repo: Repo, commit: Commit, facts: dict[str, Any]) -> list[dict[str, str]]:
    """Tabs {title, code, language}: peft or transformers or datasets, the hub client, curl."""
    name, sha = repo.full_name, commit.sha
    writers = {Kind.ADAPTER: _peft, Kind.BASE: _transformers, Kind.TASK: _datasets}
    made = writers[Kind(repo.kind)](name, sha, facts) if repo.kind in writers else []
    option = " --repo-type dataset" if repo.is_task else ""
    hub = f"HF_ENDPOINT={settings.PUBLIC_URL} hf download {name}{option} --revision {sha}"
    address = f"{settings.PUBLIC_URL}{repo.get_absolute_url()}/resolve/{sha}/README.md"
    return [
        *made,
        {"title": "hf", "code": hub, "language": "bash"},
        {"title": "curl", "code": f"curl -L {address}", "language": "bash"},
    ]


def _endpoint() -> str:
    return f'import os\nos.environ["HF_ENDPOINT"] = "{settings.PUBLIC_URL}"\n\n'


def _peft(name: str, sha: str, facts: dict[str, Any]) -> list[dict[str, str]]:
    model = CLASSES.get(str(facts.get("task_type")), "AutoModel")
    outputs = next((head["outputs"] for head in facts.get("heads") or [] if head.get("outputs")), None)
    labels = f", num_labels={outputs}" if outputs and model == CLASSES["SEQ_CLS"] else ""
    base = facts.get("base") or facts.get("base_model") or "BASE"
    code = (
        f"from peft import PeftModel\nfrom transformers import AutoTokenizer, {model}\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{base}")\n'
        f'base = {model}.from_pretrained("{base}"{labels})\n'
        f'model = PeftModel.from_pretrained(base, "{name}", revision="{sha}")\n'
    )
    return [{"title": "peft", "code": _endpoint() + code, "language": "python"}]


def _transformers(name: str, sha: str, facts: dict[str, Any]) -> list[dict[str, str]]:
    code = (
        "from transformers import AutoModel, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{name}", revision="{sha}")\n'
        f'model = AutoModel.from_pretrained("{name}", revision="{sha}")\n'
    )
    return [{"title": "transformers", "code": _endpoint() + code, "language": "python"}]


def _datasets(name: str, sha: str, facts: dict[str, Any]) -> list[dict[str, str]]:
    code = (
        "from huggingface_hub import snapshot_download\n\n"
        f'folder = snapshot_download("{name}", repo_type="dataset", revision="{sha}")\n'
    )
    return [{"title": "huggingface_hub", "code": _endpoint() + code, "language": "python"}]
