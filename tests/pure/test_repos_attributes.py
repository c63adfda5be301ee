"""Which files .gitattributes wants kept by LFS, with git itself as the judge."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hub.repos.attributes import Attributes

TEXT = b"""
*.bin filter=lfs diff=lfs merge=lfs -text
# comment *.txt filter=lfs
data/*.csv filter=lfs
/top.txt filter=lfs
deep/**/x.json filter=lfs
*.bin.txt -filter
small.bin !filter
weights?.model filter=lfs
[ab].md filter=lfs
"""
PATHS = (
    "a.bin d/e/a.bin data/a.csv data/d/a.csv x/data/a.csv top.txt d/top.txt deep/x.json deep/a/b/x.json x.json a.bin.txt "
    "small.bin d/small.bin weights1.model weights12.model a.txt README.md"
).split()


def test_as_git_sees_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitattributes").write_bytes(TEXT)
    said = subprocess.run(["git", "-C", str(tmp_path), "check-attr", "filter", "--", *PATHS], capture_output=True, text=True,
                          check=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}).stdout  # fmt: skip
    expected = {line.split(": ")[0]: line.endswith("filter: lfs") for line in said.splitlines()}
    attributes = Attributes.parse(TEXT)
    assert {path: attributes.keeps_by_lfs(path) for path in PATHS} == expected


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"*" * 10_000 + b" filter=lfs", b"filter=lfs", b"a filter=lfs\n" * 9000]
)
def test_odd_files_are_no_rules(text: bytes) -> None:
    assert not Attributes.parse(text).keeps_by_lfs("some/path.txt")
