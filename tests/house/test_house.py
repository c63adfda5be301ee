"""The house's own rules, held by a machine: rooms say what they are, modules can be read at one sitting."""

import ast
import re
import subprocess
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("hub", "adapters", "merges")
MOST_LINES = 450
MOST_LINES_OF_A_FUNCTION = 75
NO_ROOMS = {"migrations", "management", "commands", "templatetags"}
SYNONYMS = re.compile(r"\b(repository|repositories|pull requests?|branch protection rules?|plugins?)\b", re.IGNORECASE)


def tracked(pattern: str) -> list[Path]:
    """Files of the project that git knows or will know."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", pattern]
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted(ROOT / line for line in lines if line and (ROOT / line).is_file())


MODULES = [path for path in tracked("*.py") if "migrations" not in path.parts]
ROOMS = [path for path in MODULES if path.name == "__init__.py" and path.relative_to(ROOT).parts[0] in FLOORS
         and not NO_ROOMS & set(path.parts)]  # fmt: skip


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: path.parent.relative_to(ROOT).as_posix())
def test_a_room_says_what_comes_in_what_leaves_and_what_never_happens(room: Path) -> None:
    said = ast.get_docstring(ast.parse(room.read_text())) or ""
    assert len(said.split()) >= 15, "Say in about three sentences what happens in this room."


def test_every_module_begins_with_what_it_is_for() -> None:
    silent = [path.relative_to(ROOT) for path in MODULES
              if path.relative_to(ROOT).parts[0] in FLOORS and path.name != "__init__.py"
              and not ast.get_docstring(ast.parse(path.read_text()))]  # fmt: skip
    assert silent == []


def test_no_module_is_too_long_for_one_sitting() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_does_too_many_things() -> None:
    long = {}
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] not in FLOORS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert long == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for types only count too: they hide a circle, they do not break it."""
    graph = grimp.build_graph(*FLOORS, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}
    assert any(imports.values()), "grimp found the floors"
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_pages_keep_to_the_vocabulary() -> None:
    found = {}
    for path in tracked("templates/*.html"):
        words = SYNONYMS.findall(re.sub(r"\{[%{#].*?[%}#]\}|<[^>]*>", " ", path.read_text(), flags=re.DOTALL))
        if words:
            found[path.relative_to(ROOT).as_posix()] = words
    assert found == {}
