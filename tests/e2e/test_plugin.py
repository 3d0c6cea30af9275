"""A package of somebody else: installed by pip, found by name, checked by `crosscue.testing`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosscue.errors import CrosscueError, MethodError
from crosscue.methods.registry import method_class
from crosscue.testing import Case, Check, contract_checks
from tests import tiny
from tests.cli import Done, crosscue, process, succeeds
from tests.images import write_source
from tests.packages import install

PACKAGE = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the installed package, on the path of this process."""
    folder = install(PACKAGE, tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("CROSSCUE_CACHE", str(folder / "cache"))
        yield folder
        for name in [name for name in sys.modules if name.startswith("crosscue_offsets")]:
            del sys.modules[name]


def outside(installed: Path, *arguments: object) -> Done:
    """Runs a command as a process of its own that finds the installed package."""
    done = process(*arguments, PYTHONPATH=os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]))
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A source that only the installed reader understands."""
    folder = write_source(tmp_path / "images")
    rows = map(json.loads, (folder / "captions.jsonl").read_text().splitlines())
    (tmp_path / "pairs.lines").write_text(
        "\n".join(f"{row['split']} | images/{row['image']} | {row['caption']}" for row in rows)
    )
    return tmp_path / "pairs.lines"


def test_methods_are_listed_and_the_broken_one_has_its_reason(installed: Path) -> None:
    listed = {method["name"]: method for method in json.loads(outside(installed, "methods", "--json").stdout)}
    assert listed["offsets"]["summary"] == "One trainable offset in each modality."
    assert "'shattered' of crosscue-offsets" in listed["shattered"]["error"]
    assert "ModuleNotFoundError: No module named 'no_such_package'" in listed["shattered"]["error"]
    assert "dual_prompt" in listed


def test_the_reader_reads_and_the_broken_one_is_named(installed: Path, lines: Path) -> None:
    done = outside(installed, "data", "check", lines, "--json", lines.with_name("audit.json"))
    audit = json.loads(lines.with_name("audit.json").read_text())
    assert {split: found["images"] for split, found in audit["splits"].items()} == {"train": 16, "val": 8, "test": 8}
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: plug-in")]
    assert len(warnings) == 1
    assert "'blurred' of crosscue-offsets" in warnings[0]
    assert "No module named 'no_such_package'" in warnings[0]


def test_adapt_and_evaluate_with_both(installed: Path, lines: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ["--data", lines, "--backbone", tiny.clip_folder(), "--precision", "fp32", "--training.epochs", 2]
    assert "finished after" in succeeds("adapt", "--method", "offsets", *given, "--out", run)
    succeeds("evaluate", run, "--data", lines, "--json", tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["protocol"]["method"] == "offsets"


def test_the_broken_one_is_refused_by_name(installed: Path, lines: Path, tmp_path: Path) -> None:
    done = crosscue("adapt", "--method", "shattered", "--data", lines, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "plug-in 'shattered' of crosscue-offsets" in done.stderr
    with pytest.raises(CrosscueError, match="Correct or uninstall the package"):
        method_class("shattered")


def test_unknown_methods_are_answered_with_those_of_plug_ins(installed: Path) -> None:
    with pytest.raises(MethodError, match="Did you mean 'offsets'"):
        method_class("ofsets")


def test_its_method_keeps_the_contract(installed: Path) -> None:
    checks = list(contract_checks(Case(method_class("offsets"), identity=True)))
    assert len(checks) == 4 * 7 + 1
    for check in checks:
        check()


def broken_checks(**broken: object) -> set[str]:
    """The promises that a damaged copy of the method does not keep."""
    damaged = type("Damaged", (method_class("offsets"),), broken)
    failed = set()
    for check in contract_checks(Case(damaged, identity=True)):
        if check.family == "clip" and fails(check):
            failed.add(check.promise.__name__)
    return failed


def fails(check: Check) -> bool:
    try:
        check()
    except AssertionError:
        return True
    return False


def test_damaged_methods_are_found_out(installed: Path) -> None:
    found = method_class("offsets")
    assert broken_checks() == set()
    detached = {"text_features": lambda self, texts, mode="plain": found.text_features(self, texts, mode).detach()}
    assert broken_checks(**detached) == {"changes_what_it_trains"}
    assert broken_checks(image_features=lambda self, images: -found.image_features(self, images)) == {
        "equals_the_backbone"
    }
    shuffled = {"image_features": lambda self, images: found.image_features(self, images).roll(1, 0)}
    assert "sees_one_modality" in broken_checks(**shuffled)
