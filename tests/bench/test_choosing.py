"""Settings are chosen on validation; test images cannot matter because they cannot even be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosscue.bench.grid import Candidate, Grid, Row
from crosscue.bench.plan import Choice
from crosscue.errors import RunError
from tests import tiny
from tests.cli import crosscue
from tests.images import write_source

CANDIDATES = '{"default": [{"training": {"lr": 0.000001}}, {"training": {"lr": 0.02}}, {"training": {"lr": 0.005}}]}'


def tuned(place: Path, out: str) -> tuple[int, str]:
    given = ["--methods", "zero_shot", "dual_prompt", "--data", f"a={place.name}", "--backbone", tiny.clip_folder()]
    done = crosscue(
        *["bench", "methods", *given, "--candidates", CANDIDATES, "--shots", 4, "--seeds", 1, 2, "--out", out],
        *["--training.epochs", 6, "--training.schedule", "constant", "--precision", "fp32"],
        cwd=place.parent,
        CROSSCUE_CACHE=str(place.parent / f"cache-{place.name}"),
    )
    return done.returncode, done.stderr


def trained(out: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in (out / "jobs").glob("*/training.json")}


@pytest.mark.slow
def test_the_choice_does_not_read_the_test_split(tmp_path: Path) -> None:
    whole = write_source(tmp_path / "whole", val=16)
    spoilt = write_source(tmp_path / "spoilt", val=16)
    for number in range(32, 40):
        (spoilt / f"{number}.jpg").write_bytes(b"garbage")
    lines = (spoilt / "captions.jsonl").read_text().splitlines()
    garbage = [json.dumps({**json.loads(line), "caption": f"x{n}"}) for n, line in enumerate(lines[32:])]
    (spoilt / "captions.jsonl").write_text("\n".join([*lines[:32], *garbage]))

    code, stderr = tuned(whole, "out")
    assert code == 0, stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    chosen = results["cells"][1]["chosen"]
    validation = chosen["validation_rsum"]
    assert len(set(validation)) > 1, "a choice between equals would prove nothing"
    rates = [0.000001, 0.02, 0.005]
    assert chosen["training"]["lr"] == rates[validation.index(max(validation))]
    assert {cell["steps"] for cell in results["cells"]} == {0, 6}

    code, stderr = tuned(spoilt, "spoilt-out")
    assert code == 1
    assert "32.jpg: not an image" in stderr
    assert trained(tmp_path / "spoilt-out") == trained(tmp_path / "out"), "the same candidates, then the same choice"
    assert len(trained(tmp_path / "out")) == 4
    failures = json.loads((tmp_path / "spoilt-out" / "results.json").read_text())["failures"]
    assert {failure["job"] for failure in failures} == {
        "zero_shot on a",
        *(f"dual_prompt on a, 4 shots, seed {seed}, lr {chosen['training']['lr']}" for seed in (1, 2)),
    }
    assert "Not all jobs could be run" in (tmp_path / "spoilt-out" / "leaderboard.html").read_text()


def test_the_best_on_validation_is_chosen_and_failed_runs_are_left_out() -> None:
    candidates = [Candidate({"lr": rate}) for rate in (0.1, 0.2, 0.3)]
    assert Choice.best(candidates, [None, 7.0, 7.0]) == Choice(candidates[1], [None, 7.0, 7.0])
    assert Choice.best(candidates, [None, None, None]) is None


def test_every_method_gets_the_same_budget() -> None:
    one, two = [Candidate()], [Candidate(), Candidate({"lr": 0.1})]
    with pytest.raises(RunError, match="same number of settings"):
        Grid(rows=[Row("dcar")], candidates={"default": one, "dcar": two}).lines()
    with pytest.raises(RunError, match="there is no default"):
        Grid(rows=[Row("dcar"), Row("dual_prompt")], candidates={"dcar": two}).lines()
    assert Grid(rows=[Row("zero_shot")], candidates={"default": two}).candidates_of("zero_shot") == one
