"""Real texts that installed packages carry: service descriptions, translations, docstrings."""

from __future__ import annotations

import ast
import gzip
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import polib

TAG = re.compile(r"<[^>]+>")
SPACE = re.compile(r"\s+")
SENTENCE = re.compile(r"(.+?[.!?])(?=\s|$)")
ACTIONS = {
    "read": ("List", "Get", "Describe", "Search", "Query", "Lookup"),
    "create": ("Create", "Register", "Import", "Copy"),
    "change": ("Update", "Modify", "Put", "Set", "Change", "Enable", "Disable", "Reset"),
    "delete": ("Delete", "Deregister", "Remove", "Purge"),
}
KINDS = {
    "boolean": "yes-or-no",
    "integer": "number",
    "long": "number",
    "float": "number",
    "double": "number",
    "timestamp": "time",
    "list": "list",
    "string": "text",
}
LANGUAGES = {
    "da": "Danish",
    "es": "Spanish",
    "gl": "Galician",
    "nb": "Norwegian",
    "pt": "Portuguese",
    "sv": "Swedish",
}
Labelled = tuple[str, str]


def package_folder(name: str) -> Path:
    """Folder of an installed package, found without importing it. Raises ModuleNotFoundError."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The package {name} is not installed. Install requirements.txt and try again.")
    return Path(next(iter(spec.submodule_search_locations)))


def package_version(distribution: str) -> str:
    """Installed version of a distribution, for provenance on cards."""
    return version(distribution)


def first_sentence(text: str) -> str:
    """The first sentence of a description: tags gone, entities resolved, white space single."""
    plain = SPACE.sub(" ", html.unescape(TAG.sub(" ", text))).strip()
    found = SENTENCE.match(plain)
    return re.sub(r"\s+([.,;:)])", r"\1", found.group(1) if found else plain)


def service_operations(services: Iterable[str]) -> Iterator[Labelled]:
    """(first sentence of an operation's description, service) of AWS services as botocore describes them."""
    for service in services:
        for operation in _service(service)["operations"].values():
            yield first_sentence(operation.get("documentation", "")), service


def operation_actions(services: Iterable[str]) -> Iterator[Labelled]:
    """(first sentence of an operation's description, read|create|change|delete), the label by the operation's verb."""
    verbs = {verb: action for action, names in ACTIONS.items() for verb in names}
    for service in services:
        for name, operation in _service(service)["operations"].items():
            verb = re.match(r"[A-Z][a-z]+", name)
            if verb and verb.group() in verbs:
                yield first_sentence(operation.get("documentation", "")), verbs[verb.group()]


def field_kinds(services: Iterable[str]) -> Iterator[Labelled]:
    """(first sentence of a field's description, kind of value it holds) of AWS services."""
    for service in services:
        shapes = _service(service)["shapes"]
        for shape in shapes.values():
            for member in shape.get("members", {}).values():
                kind = KINDS.get(shapes[member["shape"]]["type"])
                if kind:
                    yield first_sentence(member.get("documentation", "")), kind


def translated_messages() -> Iterator[Labelled]:
    """(message, language) of Django's translation catalogues; messages left in English are skipped."""
    for code, language in LANGUAGES.items():
        for catalogue in sorted(package_folder("django").glob(f"**/locale/{code}/LC_MESSAGES/django.po")):
            for entry in polib.pofile(str(catalogue)):
                if entry.translated() and entry.msgstr and entry.msgstr != entry.msgid:
                    yield (
                        SPACE.sub(" ", re.sub(r"%\(\w+\)[sd]|%[sd]|\{\w*\}", " ", TAG.sub(" ", entry.msgstr))),
                        language,
                    )


def docstrings(packages: Iterable[str], wanted: int) -> Iterator[Labelled]:
    """(first sentence of a docstring, package), about `wanted` for each package, read without importing it."""
    for package in packages:
        folder, found = package_folder(package), 0
        files = [path for path in folder.rglob("*.py") if "test" not in path.as_posix().rpartition(package)[2]]
        for path in sorted(files, key=lambda path: stable_key(path.relative_to(folder).as_posix())):
            for sentence in _docstrings(path):
                found += 1
                yield sentence, package
            if found >= wanted:
                break


def stable_key(text: str) -> str:
    """A key that orders texts in an arbitrary but always equal way."""
    return hashlib.sha256(text.encode()).hexdigest()


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield first_sentence(text.split("\n\n")[0])


def _service(name: str) -> dict:
    newest = sorted((package_folder("botocore") / "data" / name).glob("*/service-2.json.gz"))[-1]
    with gzip.open(newest) as file:
        return json.load(file)
