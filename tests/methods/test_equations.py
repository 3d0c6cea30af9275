"""The tables "equation -> function" in the docstrings of the methods."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest

from crosscue import methods

ROW = re.compile(r"^    (\S.*?) +-> ((?:methods|losses|backbones)(?:\.\w+)+)$", re.MULTILINE)
WITH_TABLE = {
    *("acke.model", "acke.released", "action.model", "alip", "clip_adapter", "coop", "dcar.model", "dual_prompt"),
    *("filip", "fineclip", "maple"),
}


def table(module: str) -> list[tuple[str, str]]:
    return ROW.findall(importlib.import_module(module).__doc__ or "")


MODULES = [found.name for found in pkgutil.walk_packages(methods.__path__, "crosscue.methods.")]
ROWS = [(module.removeprefix("crosscue.methods."), *row) for module in MODULES for row in table(module)]


def test_every_paper_has_its_table() -> None:
    assert {module for module, _, _ in ROWS} == WITH_TABLE


@pytest.mark.parametrize(("module", "equation", "path"), ROWS, ids=lambda value: value.replace(" ", "_"))
def test_the_docstring_of_the_function_names_the_equation(module: str, equation: str, path: str) -> None:
    text = " ".join((inspect.getdoc(pkgutil.resolve_name(f"crosscue.{path}")) or "").split())
    assert re.search(rf"(?<!\w){re.escape(equation)}(?!\.?\d|\w)", text), f"{path}: {text}"
