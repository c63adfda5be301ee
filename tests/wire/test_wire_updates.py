"""A checkpoint made by an update, as the ecosystem's own clients see it: they notice nothing."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
from huggingface_hub import HfApi
from safetensors.numpy import load_file

from tests import make_adapters
from tests.services import LiveHub
from tests.wire.conftest import Run, Tokens

Api = Callable[[str | None], HfApi]
FETCH = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download("wire-alice/updated", local_dir=sys.argv[1]))
"""


def test_clients_get_what_the_update_makes(
    live_hub: LiveHub, tokens: Tokens, api: Api, python: Run, tmp_path: Path
) -> None:
    client, repo = api("alice"), "wire-alice/updated"
    client.create_repo(repo)
    folder = make_adapters.write_base(tmp_path / "base")
    client.upload_folder(repo_id=repo, folder_path=folder)
    config = make_adapters.lora_config(modules_to_save=None, task_type=None)
    adapter = make_adapters.write_adapter(tmp_path / "adapter", config, make_adapters.lora_tensors(labels=0))
    files = [
        {"path": name, "content_base64": base64.b64encode((adapter / name).read_bytes()).decode()}
        for name in ("adapter_config.json", "adapter_model.safetensors")
    ]
    headers = {"Authorization": f"Bearer {tokens.alice}"}
    sent = httpx2.post(
        f"{live_hub.url}/api/v1/repos/{repo}/updates", headers=headers,
        json={"base": client.model_info(repo).sha, "message": "An update", "files": files},
    )  # fmt: skip
    assert sent.status_code == 202, sent.text
    job = {"state": "queued"}
    for _ in range(200):
        job = httpx2.get(f"{live_hub.url}/api/v1/jobs/{sent.json()['job']}", headers=headers).json()
        if job["state"] in ("succeeded", "failed"):
            break
        time.sleep(0.1)
    assert job["state"] == "succeeded", job
    python(FETCH, str(tmp_path / "fetched"))
    made = tmp_path / "fetched" / "model.safetensors"
    info = client.get_paths_info(repo, "model.safetensors")[0]
    assert hashlib.sha256(made.read_bytes()).hexdigest() == info.lfs.sha256
    before, after = load_file(folder / "model.safetensors"), load_file(made)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(changed) == 4 and all(name.endswith(("query.weight", "value.weight")) for name in changed)
