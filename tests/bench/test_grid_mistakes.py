"""A mistake in the YAML of a grid ends in one line before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosscue.cli import dispatch
from tests.images import write_source

ROWS = "rows: [{label: DCAR, method: dcar%s}]\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("mistakes") / "a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rwos: []", "mine.yaml: there is no option rwos. Did you mean 'rows'?"),
        ("rows: [{label: DCAR, methd: dcar}]", "mine.yaml: there is no option rows.methd. Did you mean 'method'?"),
        ("rows: [3]", "rows is 3; it must hold options: inference, label, method"),
        (ROWS % "" + "training: 3", "training is 3; it must hold options: augmentation"),
        (ROWS % "" + "candidates: {default: [{optins: {}}]}", "no option candidates.default.optins. Did you mean 'opt"),
        (ROWS % ", options: 3", "options is 3; it must be a mapping."),
        ("rows: [{label: DCAR}]", "method"),
        (ROWS % ", options: {dpeth: 2}", "row 'DCAR': method 'dcar' has no option 'dpeth'. Did you mean 'depth'?"),
        (ROWS % ", options: {alpha: large}", "alpha is large; it must be a number"),
        (ROWS % ", options: {weights: typo}", "weights is typo; it must be one of abs"),
        (ROWS % ", vary: {weights: [relu, typo]}", "row 'DCAR weights=typo': method 'dcar': weights is typo"),
        (ROWS % ", training: {lr: fast}", "row 'DCAR': training: lr is fast; it must be a number"),
        (ROWS % ", inference: {mode: typo}", "typo"),
        (ROWS % ", inference: {mod: plain}", "mod"),
        (ROWS % "" + "training: {schedule: steps}", "schedule"),
        (ROWS % "" + "shots: [many]", "shots"),
        (ROWS % "" + "candidates: {default: [{options: {lamda1: 1}}]}", "Did you mean 'lambda1'?"),
        (ROWS % "" + "claims: [{claim: better, row: DCAR}]", "over"),
        (ROWS % "" + "evaluate: [{label: again, row: DCAR, inference: {centre: maybe}}]", "centre"),
        ("rows: [", "mine.yaml"),
    ],
    ids=lambda value: None if "\n" in value else value[:40],
)
def test_a_mistake_is_one_line(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    try:
        code: object = dispatch(["bench", "mine.yaml", "--data", str(source), "--dry_run"])
    except SystemExit as error:
        code = error.code
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert len(printed.err.splitlines()) == 1, printed.err
    assert printed.err.startswith("crosscue bench: ")
    assert words in printed.err
    assert not (tmp_path / "runs").exists()
