"""The images that the run of a search says it has learned from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import crosscue
from crosscue.data.contents import contents
from crosscue.selection import pool
from crosscue.selection.candidates import Candidate
from crosscue.selection.trials import Trial
from crosscue.training.provenance import Provenance
from tests.selection.test_search import searched


def learned_images(folder: Path) -> int:
    return json.loads((folder / "environment.json").read_text())["data"]["train"]["images"]


@pytest.mark.usefixtures("brief")
def test_a_training_shorter_than_an_epoch_has_learned_from_the_images_of_its_steps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of eight of the 24 training images; a spy keeps which."""
    fed = set[tuple[int, ...]]()

    def some(indices: Sequence[int], most: int, seed: int) -> list[int]:
        found = pool.some(indices, most, seed)
        fed.add(tuple(found))
        return found

    def shortest(trials: list[Trial], methods: list[str]) -> Trial:
        return next(trial for trial in trials if (trial.method, trial.steps) == ("lora", 2))

    monkeypatch.setattr("crosscue.selection.training.some", some)
    monkeypatch.setattr("crosscue.selection.choosing.chosen", shortest)
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    searched(folder)
    (places,) = [places for places in fed if len(places) == 16]
    source = crosscue.read_pairs(folder)
    found, train = Provenance.load(folder / "run"), contents(source.split("train").images)
    assert found.train == [train[place] for place in places]
    assert found.val == contents(source.split("val").images)
    assert learned_images(folder / "run") == 16


@pytest.mark.usefixtures("brief")
def test_the_untouched_model_has_learned_from_no_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: [Candidate("linear_probe", 1e-9)])
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    run = searched(folder)
    found, source = Provenance.load(folder / "run"), crosscue.read_pairs(folder)
    assert (run.method.name, found.train) == ("zero_shot", [])
    assert found.val == contents(source.split("val").images)
    assert "left_out" not in run.evaluate(source.split("train")).protocol
