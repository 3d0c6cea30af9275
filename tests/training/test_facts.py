"""Facts of a run folder in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crosscue.storage import json_line, write_json
from crosscue.training.facts import run_facts


def run_folder(folder: Path, val: dict[str, int] | None, *lines: dict[str, Any]) -> Path:
    write_json(folder / "environment.json", {"data": {"train": {"images": 1200}, "val": val}})
    (folder / "metrics.jsonl").write_text("".join(json_line({"step": n} | line) for n, line in enumerate(lines)))
    return folder


@pytest.mark.parametrize(("best", "words"), [(2, "2 of 3"), (0, "0 of 3: the method before training")])
def test_the_last_validation_has_the_chosen_epoch(tmp_path: Path, best: int, words: str) -> None:
    lines = [{"epoch": 1, "best_epoch": 1}, {"epoch": 2}, {"epoch": 3, "best_epoch": best}, {"epoch": 3}]
    facts = run_facts(run_folder(tmp_path / "mine", {"images": 100}, *lines))
    assert facts == {"run": "mine", "trained on": "1,200 images; 100 for validation", "chosen epoch": words}


def test_without_validation_no_epoch_is_chosen(tmp_path: Path) -> None:
    facts = run_facts(run_folder(tmp_path, None, {"epoch": 1}))
    assert facts["trained on"] == "1,200 images; no validation"
    assert "chosen epoch" not in facts
