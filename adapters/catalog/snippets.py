"""How to use a repo at one revision: code that runs as it stands and is true for what its files hold."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from hub.repos import trees
from hub.repos.models import Commit, Kind, Repo

CLASSES = {"SEQ_CLS": "AutoModelForSequenceClassification", "CAUSAL_LM": "AutoModelForCausalLM",
           "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}  # fmt: skip
ENDINGS = {"ForSequenceClassification": "SEQ_CLS", "ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM",
           "ForConditionalGeneration": "SEQ_2_SEQ_LM"}  # fmt: skip
"""How the class a checkpoint was saved from ends → what it does."""
MOST_HEADS = 6


def snippets(repo: Repo, commit: Commit, facts: dict[str, Any]) -> list[dict[str, str]]:
    """Tabs {title, code, language}: peft or transformers or datasets, the hub client, curl."""
    name, sha = repo.full_name, commit.sha
    made: list[dict[str, str]] = []
    if repo.kind == Kind.ADAPTER:
        heads = _heads(repo, commit) if facts.get("task_type") == "SEQ_CLS" and not facts.get("heads") else []
        made.append(_python("peft", _peft(name, sha, facts, heads)))
    elif repo.kind == Kind.BASE:
        made.append(_python("transformers", _transformers(name, sha, facts)))
    elif repo.kind == Kind.TASK:
        code = f'from datasets import load_dataset\n\ntask = load_dataset("{name}", revision="{sha}")\nprint(task)\n'
        made.append(_python("datasets", code))
    option = " --repo-type dataset" if repo.is_task else ""
    hub = f"HF_ENDPOINT={settings.PUBLIC_URL} hf download {name}{option} --revision {sha}"
    address = f"{settings.PUBLIC_URL}{repo.get_absolute_url()}/resolve/{sha}/README.md"
    return [
        *made,
        {"title": "hf", "code": hub, "language": "bash"},
        {"title": "curl", "code": f"curl -L {address}", "language": "bash"},
    ]


def upload_snippets(repo: Repo) -> list[dict[str, str]]:
    """Tabs {title, code, language} that fill an empty repo: the client's command line, and Python."""
    option = " --repo-type dataset" if repo.is_task else ""
    shell = (
        f"export HF_ENDPOINT={settings.PUBLIC_URL}\nhf auth login\nhf upload {repo.full_name} ./{repo.name}{option}\n"
    )
    space = ', repo_type="dataset"' if repo.is_task else ""
    folder = (
        "from huggingface_hub import HfApi\n\n"
        f'HfApi().upload_folder(repo_id="{repo.full_name}", folder_path="{repo.name}"{space})\n'
    )
    return [{"title": "hf", "code": shell, "language": "bash"}, _python("python", folder)]


def class_of(facts: dict[str, Any]) -> str:
    """The task type of a checkpoint, by the class it was saved from; empty for a bare encoder."""
    names = facts.get("architectures") or [""]
    return next((kind for ending, kind in ENDINGS.items() if str(names[0]).endswith(ending)), "")


def _python(title: str, code: str) -> dict[str, str]:
    endpoint = f'import os\nos.environ["HF_ENDPOINT"] = "{settings.PUBLIC_URL}"\n\n'
    return {"title": title, "code": endpoint + code, "language": "python"}


def _heads(repo: Repo, commit: Commit) -> list[str]:
    """The heads a merge keeps beside its weights, one for each parent's task, without their endings."""
    paths = trees.flatten(repo, commit.tree)
    ending = ".safetensors"
    heads = [path.removesuffix(ending) for path in paths if path.startswith("heads/") and path.endswith(ending)]
    return sorted(head for head in heads if f"{head}.labels.json" in paths)[:MOST_HEADS]


def _peft(name: str, sha: str, facts: dict[str, Any], heads: list[str]) -> str:
    base = facts.get("base") or facts.get("base_model") or "BASE"
    kind = str(facts.get("task_type"))
    if kind == "SEQ_CLS" and (heads or facts.get("labels")):
        return _classifier(name, sha, base, heads)
    model = CLASSES.get(kind, "AutoModel")
    outputs = next((head["outputs"] for head in facts.get("heads") or [] if head.get("outputs")), None)
    size = f", num_labels={outputs}" if outputs and kind == "SEQ_CLS" else ""
    return (
        f"from peft import PeftModel\nfrom transformers import AutoTokenizer, {model}\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{base}")\n'
        f'base = {model}.from_pretrained("{base}"{size})\n'
        f'model = PeftModel.from_pretrained(base, "{name}", revision="{sha}").eval()\n\n'
    ) + _asked(kind, "{}")


def _classifier(name: str, sha: str, base: str, heads: list[str]) -> str:
    """An adapter that names its labels; one of `heads` is put on it where it has none of its own."""
    peft = ["PeftConfig", "get_peft_model", "set_peft_model_state_dict"] if heads else ["PeftModel"]
    path = 'head + ".labels.json"' if heads else '"labels.json"'
    lines = [
        "import json\n",
        "from huggingface_hub import hf_hub_download",
        f"from peft import {', '.join(peft)}",
        *(["from safetensors.torch import load_file"] if heads else []),
        f"from transformers import AutoTokenizer, {CLASSES['SEQ_CLS']}\n\n",
        "def fetch(file):",
        f'    return hf_hub_download("{name}", file, revision="{sha}")\n\n',
        *([f'head = "{heads[0]}"' + "".join(f'  # or "{head}"' for head in heads[1:])] if heads else []),
        f"labels = json.load(open(fetch({path})))",
        f'tokenizer = AutoTokenizer.from_pretrained("{base}")',
        f'base = {CLASSES["SEQ_CLS"]}.from_pretrained("{base}", num_labels=len(labels))',
    ]
    if heads:
        lines += [
            f'model = get_peft_model(base, PeftConfig.from_pretrained("{name}", revision="{sha}")).eval()',
            'weights = load_file(fetch("adapter_model.safetensors")) | load_file(fetch(head + ".safetensors"))',
            "set_peft_model_state_dict(model, weights)",
        ]
    else:
        lines.append(f'model = PeftModel.from_pretrained(base, "{name}", revision="{sha}").eval()')
    return "\n".join([*lines, "", _asked("SEQ_CLS", "labels[{}]")])


def _transformers(name: str, sha: str, facts: dict[str, Any]) -> str:
    kind = class_of(facts)
    model = CLASSES.get(kind, "AutoModel")
    return (
        f'from transformers import AutoTokenizer, {model}\n\nname, revision = "{name}", "{sha}"\n'
        "tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)\n"
        f"model = {model}.from_pretrained(name, revision=revision).eval()\n\n"
    ) + _asked(kind, "model.config.id2label[{}]")


def _asked(kind: str, label: str) -> str:
    """One input through the model, and what comes out."""
    inputs = 'inputs = tokenizer("A text to try", return_tensors="pt")\n'
    if kind == "SEQ_CLS":
        best = label.format("model(**inputs).logits.argmax().item()")
        return f"{inputs}print({best})\n"
    if kind in ("CAUSAL_LM", "SEQ_2_SEQ_LM"):
        made = "model.generate(**inputs, max_new_tokens=40)[0]"
        return f"{inputs}print(tokenizer.decode({made}, skip_special_tokens=True))\n"
    return f"{inputs}print(model(**inputs).last_hidden_state.shape)\n"
