"""The facts of a run folder in words, for the head of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscue.storage import read_json
from crosscue.training.journal import JOURNAL, read_journal
from crosscue.training.runs import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path


def run_facts(folder: Path) -> dict[str, str]:
    """Returns the name of a run folder, its training and validation images, and the epoch that was chosen."""
    data = read_json(folder / ENVIRONMENT)["data"]
    train, val = data["train"], data["val"]
    validated = f"{val['images']:,} for validation" if val else "no validation"
    lines = [line for line in read_journal(folder / JOURNAL) if "best_epoch" in line]
    facts = {"run": folder.resolve().name, "trained on": f"{train['images']:,} images; {validated}"}
    if lines:
        best, last = lines[-1]["best_epoch"], lines[-1]["epoch"]
        facts["chosen epoch"] = f"{best} of {last}" if best else f"0 of {last}: the method before training"
    return facts
