"""Names of the package: what `from crosscue import *` gives, to a program and to a type checker."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import crosscue
from crosscue.version import __version__

ROOT = Path(__file__).parents[1]
PROGRAM = """
from crosscue import *
reveal_type(adapt("images/", training={"epochs": 2}, options={"depth": 1}))
reveal_type(evaluate("run/", "images/", inference=Inference(centre=True)).metrics())
reveal_type(before_and_after(load("run/"), held_out(read_pairs("images/"))))
Method, Batch, Pair, Pairs, Retrieval, Run, TrainingConfig, CrosscueError, Backbone, Reading, Negative, load_backbone
"""


def test_a_star_import_gives_every_name() -> None:
    names: dict[str, object] = {}
    exec("from crosscue import *", names)
    assert set(crosscue.__all__) == names.keys() - {"__builtins__"}
    assert set(crosscue.__all__) <= set(dir(crosscue))
    for name in set(crosscue.__all__) - {"__version__"}:
        assert names[name].__name__ == name  # type: ignore[attr-defined]
        assert names[name].__module__.startswith("crosscue.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'crosscue' has no attribute 'adopt'"):
        _ = crosscue.adopt


def test_there_is_one_version() -> None:
    assert crosscue.__version__ == __version__ == yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assignments = [
        path
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and "__version__" in {getattr(target, "id", "") for target in node.targets}
    ]
    assert [path.name for path in assignments] == ["version.py"]


@pytest.mark.slow
def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", str(program)]  # with the options of `make lint`, so that its cache is used
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    for type_name in ("crosscue.run.Run", "dict[str, float]", "crosscue.evaluation.comparison.Comparison"):
        assert f'Revealed type is "{type_name}"' in done.stdout.replace("builtins.", ""), done.stdout
