"""No circle of imports: a module can be read, and moved, without the module that uses it."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import crosscue

PACKAGE = Path(crosscue.__file__).parent


def module_name(path: Path, package: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(package: Path) -> dict[str, set[str]]:
    """Return module -> modules of the package it imports, at any depth of the file and under TYPE_CHECKING too.

    A name that is imported from a package counts as the submodule of that name, where there is one.
    """
    files = {module_name(path, package): path for path in package.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not node.level, f"{path}: relative import"
                found = [f"{node.module}.{alias.name}" for alias in node.names]
                graph[name] |= {each if each in files else node.module for each in found}
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
        graph[name] = {each for each in graph[name] & files.keys() if each != name}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one circle in the order of their imports; an empty list where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = circle(import_graph(PACKAGE))
    assert not found, " -> ".join(found)


def test_transformers_is_imported_inside_functions_alone() -> None:
    """It takes seconds, and only what loads a model needs it."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] == "transformers" for name in names), path


def test_imports_for_types_and_inside_functions_count(tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cellar.py").write_text("if TYPE_CHECKING:\n    from house.roof import tile\n", encoding="utf-8")
    (package / "roof.py").write_text("def tile():\n    from house import cellar\n", encoding="utf-8")
    assert set(circle(import_graph(package))) == {"house.cellar", "house.roof"}
