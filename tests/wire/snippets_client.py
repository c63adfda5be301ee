"""Run as a process of its own: publish a base, an adapter and a merge's files, then run what the hub says how to use.

Prints nothing but the last line, when each piece of code answered as the model itself.
"""

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

import requests
import torch
from huggingface_hub import HfApi
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
folder, owner = Path(sys.argv[1]), sys.argv[2]
api, asked = HfApi(), "the good dog runs"
labels = ["first", "second", "third", "fourth"]


def publish(name: str, files: Path) -> str:
    repo = f"{owner}/{name}"
    api.create_repo(repo, exist_ok=True)
    api.upload_folder(repo_id=repo, folder_path=files)
    return repo


def said(repo: str) -> str:
    """What the code that the hub shows prints, with our text in the place of its example."""
    address = f"{os.environ['HF_ENDPOINT']}/api/v1/repos/{repo}"
    headers = {"Authorization": f"Bearer {os.environ['HF_TOKEN']}"}
    for _ in range(300):  # the inspection of a commit is a job
        if requests.get(address, headers=headers, timeout=30).json()["facts"]:
            break
        time.sleep(0.2)
    code = requests.get(f"{address}/snippets", headers=headers, timeout=30).json()[0]["code"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.replace("A text to try", asked), {})
    return printed.getvalue().strip()


base = publish("say-base", folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
words = tokenizer(asked, return_tensors="pt")
assert said(base) == str(AutoModel.from_pretrained(folder)(**words).last_hidden_state.shape)

torch.manual_seed(3)
start = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
config = LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False)
config.base_model_name_or_path = base
model = get_peft_model(start, config).eval()
with torch.no_grad():
    model.base_model.model.classifier.modules_to_save["default"].bias[2] += 50
expected = labels[int(model(**words).logits.argmax())]
one = folder.parent / "one"
model.save_pretrained(one)
(one / "labels.json").write_text(json.dumps(labels))
assert said(publish("say-adapter", one)) == expected == "third"

# as a merge publishes: the weights without a head, and the parents' heads beside them
merge = folder.parent / "merge"
(merge / "heads").mkdir(parents=True)
(merge / "adapter_config.json").write_bytes((one / "adapter_config.json").read_bytes())
state = {name: value.contiguous() for name, value in get_peft_model_state_dict(model).items()}
head = {name: value for name, value in state.items() if "classifier" in name}
save_file({name: state[name] for name in state.keys() - head.keys()}, merge / "adapter_model.safetensors")
save_file(head, merge / "heads" / "a--parent.safetensors")
(merge / "heads" / "a--parent.labels.json").write_text(json.dumps(labels))
assert said(publish("say-merge", merge)) == expected
print("all answered")
