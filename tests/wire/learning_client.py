"""Run as a process of its own, with nothing but HF_ENDPOINT, HF_TOKEN and HF_HOME: publish a base, push and pull."""

import sys
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from peft import AutoPeftModelForSequenceClassification, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
folder, owner = Path(sys.argv[1]), sys.argv[2]
base, adapter = f"{owner}/tiny-base", f"{owner}/tiny-adapter"

# the base goes up, and comes back by name
api = HfApi()
api.create_repo(base, exist_ok=True)
api.upload_folder(repo_id=base, folder_path=folder)
encoder, tokenizer = AutoModel.from_pretrained(base), AutoTokenizer.from_pretrained(base)
local = AutoModel.from_pretrained(folder)
words = tokenizer("the good dog runs", return_tensors="pt")
assert torch.equal(encoder(**words).last_hidden_state, local(**words).last_hidden_state)

# an adapter of it
torch.manual_seed(1)
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
config = LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False)
taught = get_peft_model(model, config).eval()
taught.push_to_hub(adapter)
expected = taught(**words).logits
assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= set(api.list_repo_files(adapter))

# loaded as the world loads it
fresh = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
again = PeftModel.from_pretrained(fresh, adapter).eval()
assert torch.allclose(again(**words).logits, expected)
auto = AutoPeftModelForSequenceClassification.from_pretrained(adapter, num_labels=3).eval()
assert torch.allclose(auto(**words).logits, expected)

# a merged checkpoint, pushed by transformers to a branch
merged = again.merge_and_unload()
merged.push_to_hub(f"{owner}/tiny-merged", revision="try")
tokenizer.push_to_hub(f"{owner}/tiny-merged", revision="try")
whole = AutoModelForSequenceClassification.from_pretrained(f"{owner}/tiny-merged", revision="try").eval()
assert torch.allclose(whole(**words).logits, expected, atol=1e-5)
assert (Path(snapshot_download(adapter)) / "adapter_config.json").exists()
print("all equal")
