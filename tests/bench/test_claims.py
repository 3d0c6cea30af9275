"""Claims and evaluations of a grid: listed with their differences, and refused where no row has the label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosscue.bench import significance
from crosscue.bench.grid import Claim, Evaluation, Grid, Row
from crosscue.bench.tables import claims_table
from crosscue.cli import dispatch
from crosscue.errors import MethodError, RunError
from crosscue.retrieval.options import Inference
from tests import tiny
from tests.bench.cells import cell, first
from tests.images import write_source

ROWS = [Row("zero_shot", "CLIP"), Row("dcar", "DCAR", vary={"alpha": [0, 2]})]


def test_a_claim_is_the_difference_of_hits_averaged_over_seeds() -> None:
    cells = [cell("near", first(20), first(10)), cell("best", first(30), first(20))]
    claims = [Claim("best over near", "best", "near"), Claim("best over a row that was left out", "best", "far")]
    (found,) = significance.tested(claims, cells)
    change = found.differences["t2i"]
    assert change.mean == pytest.approx(100 * 10 / 40)
    assert 0 < change.low < change.mean < change.high
    assert found.to_dict()["claim"] == "best over near"
    assert found.seeds == 2
    assert found.p["t2i"] == change.p


def test_claims_are_corrected_together_and_speak_of_runs_below_three_seeds() -> None:
    cells = [cell("near", *[first(26)] * 3), cell("best", *[first(30)] * 3), cell("twin", first(26))]
    claims = [Claim("best over near", "best", "near"), Claim("best over twin", "best", "twin")]
    alone, (near, twin) = significance.tested(claims[:1], cells)[0], significance.tested(claims, cells)
    raw = alone.differences["i2t"].p
    assert near.differences["i2t"].p == twin.differences["i2t"].p == raw == alone.p["i2t"]
    assert near.p["i2t"] == twin.p["i2t"] == 2 * raw
    assert near.to_dict()["holm"]["i2t"] == 2 * raw
    assert (near.seeds, twin.seeds) == (3, 1)
    first_line, second_line = claims_table("a", [near, twin]).lines
    assert (first_line.note, second_line.note) == ("", "these runs")
    assert f"p {2 * raw:.4f}" in first_line.numbers[0].text


@pytest.mark.parametrize(
    "entries",
    [
        {"claims": [Claim("better", "DCAR", "CLIP")]},
        {"claims": [Claim("better", "CLIP", "DCAR")]},
        {"evaluate": [Evaluation("again", "DCAR")]},
    ],
)
def test_a_label_that_no_row_has_is_refused_with_the_labels(entries: dict[str, list]) -> None:
    with pytest.raises(RunError, match=r"names a row 'DCAR'\. The rows are: CLIP, DCAR alpha=0, DCAR alpha=2"):
        Grid(rows=ROWS, **entries).lines()
    assert Grid(rows=ROWS, claims=[Claim("better", "DCAR alpha=0", "CLIP")]).lines()


def test_entries_of_one_name_and_unknown_modes_are_refused() -> None:
    with pytest.raises(RunError, match="two entries are called 'again'"):
        Grid(rows=ROWS, evaluate=[Evaluation("again", "CLIP"), Evaluation("again", "CLIP")]).lines()
    for row, inference, words in (
        ("CLIP", Inference("caa"), "evaluate: 'again': method 'zero_shot' has no text mode 'caa'"),
        ("DCAR alpha=0", Inference(views="views.jsonl"), "evaluate: 'again': method 'dcar' adds no descriptions"),
    ):
        with pytest.raises(MethodError, match=words):
            Grid(rows=ROWS, evaluate=[Evaluation("again", row, inference=inference)]).lines()


def test_another_image_size_of_a_trained_row_is_refused() -> None:
    with pytest.raises(RunError, match="row 'DCAR alpha=0' is trained"):
        Grid(rows=ROWS, evaluate=[Evaluation("larger", "DCAR alpha=0", image_size=48)]).lines()


def test_claims_and_evaluations_of_a_measured_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))
    write_source(tmp_path / "a")
    edited = write_source(tmp_path / "b", offset=50) / "captions.jsonl"
    rows = [json.loads(line) for line in edited.read_text().splitlines()]
    for row in rows:
        row["negatives"] = [{"text": "no such thing", "type": "attribute"}]
    edited.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "mine.yaml").write_text(
        """
rows:
  - {label: CLIP, method: zero_shot}
  - {label: prompts, method: dual_prompt, options: {context_tokens: 2}}
domains: [a]
shots: [2]
seeds: [1, 2]
validation: false
training: {epochs: 2}
claims: [{claim: prompts over none, row: prompts, over: CLIP}]
evaluate:
  - {label: centred, row: CLIP, inference: {centre: true}}
  - {label: larger, row: CLIP, image_size: 48}
  - {label: edited, row: prompts, data: others, inference: {minimal_pairs: true}}
"""
    )
    command = ["bench", "mine.yaml", "--data", "a=a", "others=b", "--backbone", str(tiny.clip_folder()), "--out", "out"]
    assert dispatch([*command, "--precision", "fp32"]) == 0
    page, results = capsys.readouterr().out, json.loads((tmp_path / "out" / "results.json").read_text())
    cells = {one["row"]: one for one in results["cells"]}
    (claim,) = results["claims"]
    for direction in ("i2t", "t2i"):
        expected = cells["prompts"][direction]["r1"]["mean"] - cells["CLIP"][direction]["r1"]["mean"]
        assert claim[direction]["mean"] == pytest.approx(expected)
    found = {one["label"]: one for one in results["evaluations"]}
    assert [*found["centred"]["seeds"]] == ["1"] and [*found["edited"]["seeds"]] == ["1", "2"]
    assert found["centred"]["seeds"]["1"]["protocol"]["centred"] is True
    assert found["larger"]["seeds"]["1"]["protocol"]["image_size"] == 48
    preferred = found["edited"]["seeds"]["2"]["minimal_pairs"]
    assert preferred["all"]["pairs"] == 8
    assert "## Claims, a, 2 shots" in page and "| prompts over none (these runs) | " in page
    assert "## Evaluated again, a, 2 shots" in page and "| larger | " in page
    assert "## Minimal pairs, a, 2 shots" in page and "| | all (8) | attribute (8) |" in page
    html = (tmp_path / "out" / "leaderboard.html").read_text()
    assert "prompts over none" in html and "Minimal pairs, a" in html

    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "jobs").rglob("evaluation-*.json")}
    assert len(kept) == 4
    assert dispatch([*command, "--precision", "fp32"]) == 0
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, "an evaluation that is there is not run again"
