"""Searches on few images: folds, the epoch that they choose, and the images that are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import crosscue
from crosscue.errors import DataError
from crosscue.selection.budget import Budget
from crosscue.selection.candidates import Candidate
from crosscue.selection.pool import check_source, pool_of, wanted
from crosscue.selection.training import Trainee
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.images import write_source
from tests.selection.test_search import record, searched

PROBE = Candidate("linear_probe", 3e-2)


def test_the_epoch_is_the_best_in_the_mean_of_the_folds(folder: Path) -> None:
    """120 steps are validated four times in each fold; the scores are those of one epoch in all of them."""
    source, backbone = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"]()
    pool = pool_of(source, backbone, None, None, 2, 200, 2)
    with Trainee(PROBE, pool, TrainingConfig(batch_size=8, seed=2)) as trainee:
        trial = trainee.trained(PROBE, 120, folder / "trial", 0, Budget(3600.0))
    curves = []
    for fold in range(4):
        lines = map(json.loads, (folder / "trial" / f"fold-{fold}" / "metrics.jsonl").read_text().splitlines())
        curves.append({line["epoch"]: line for line in lines if line["kind"] == "validation"})
    assert [sorted(curve) for curve in curves] == [[0, 40, 80, 120]] * 4
    shares = {epoch: np.concatenate([curve[epoch]["shares"] for curve in curves]) for epoch in curves[0]}
    best = max(shares, key=lambda epoch: shares[epoch].mean())
    own = [max(curve, key=lambda epoch: curve[epoch]["rsum"]) for curve in curves]
    assert own[-1] != best and len({*own}) > 1, "the folds alone would choose different epochs"
    assert (trial.best_epoch, trial.rsum) == (best, pytest.approx(shares[best].mean()))
    assert trial.scores == pytest.approx(shares[best])
    assert trial.metrics["i2t_r1"] == pytest.approx(np.mean([curve[best]["i2t_r1"] for curve in curves]))
    assert set(trial.metrics) == {
        *(f"{way}_{key}" for way in ("i2t", "t2i") for key in ("r1", "r5", "r10", "mdr")),
        "rsum",
    }


@pytest.mark.usefixtures("brief")
def test_the_last_training_ends_at_the_epoch_of_the_folds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """36 images are 5 batches of 8; the schedule keeps the length of the trial."""
    monkeypatch.setattr("crosscue.selection.pool.FEW", 200)
    monkeypatch.setattr("crosscue.selection.search.HEAD_STEPS", 120)
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: [PROBE])
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    monkeypatch.setattr("crosscue.selection.choosing.chosen", lambda trials, methods: trials[-1])
    run = searched(folder)
    outcome, config = run.outcome, yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert outcome is not None
    written = record(folder / "run")["trials"]
    assert outcome.best_rsum == written[-1]["rsum"]
    assert outcome.untouched_rsum == written[0]["rsum"]
    assert outcome.epochs == outcome.best_epoch and outcome.best_epoch in (0, 40, 80, 120)
    assert config["training"]["epochs"] == 120
    assert outcome.steps == outcome.epochs, "36 images are one batch of 128"
    assert f"those of epoch {outcome.best_epoch}, the best on validation" in (folder / "run" / "README.md").read_text()


def test_images_are_counted_after_the_shots(tmp_path: Path) -> None:
    """Four categories: 1 shot leaves 4 + 4 images of two splits, and 3 + 3 of one."""
    source = crosscue.read_pairs(write_source(tmp_path / "both", train=24, val=12))
    check_source(source, 1, None, 1)
    assert len(wanted(source, 1, None, 1)) == 8
    alone = source.part(pair for pair in source if pair.category != source[0].category)
    with pytest.raises(DataError, match=r"6 images to learn from with --shots 1; method 'auto' needs at least 8"):
        check_source(alone, 1, None, 1)
    check_source(alone, 2, None, 1)


def test_a_share_of_few_images_is_no_split(tmp_path: Path) -> None:
    source = crosscue.read_pairs(write_source(tmp_path / "few", train=8, val=0, test=2))
    check_source(source, None, 0.1, 1)
    pool = pool_of(source, tiny.tiny_backbones["clip"](), None, 0.1, 1, 200, 2)
    assert (len(pool.pairs), len(pool.folds)) == (8, 4)


@pytest.mark.parametrize("budget", [600, "9" * 400 + "s", "0s"])
def test_a_budget_is_a_number_with_a_unit(folder: Path, budget: Any) -> None:
    with pytest.raises(crosscue.CrosscueError, match="must be a number above 0 and a unit"):
        searched(folder, budget=budget)


@pytest.mark.usefixtures("brief")
def test_the_last_training_sees_all_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial of one epoch is 4 batches of 27 images; all 36 are 5."""
    monkeypatch.setattr("crosscue.selection.pool.FEW", 200)
    monkeypatch.setattr(
        "crosscue.selection.search.candidates", lambda *_: [Candidate("lora", 1e-2, {"image_start_layer": 2})]
    )
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    monkeypatch.setattr("crosscue.selection.choosing.chosen", lambda trials, methods: replace(trials[-1], best_epoch=1))
    outcome = searched(folder).outcome
    assert outcome is not None and outcome.steps == 5
    assert record(folder / "run")["trials"][-1]["steps"] == 4


def test_too_few_images_for_a_split_are_counted_first(tmp_path: Path) -> None:
    source = crosscue.read_pairs(write_source(tmp_path / "five", train=5, val=0, test=2))
    for shots in (None, 1):
        with pytest.raises(DataError, match="5 images to learn from; method 'auto' needs at least 8"):
            check_source(source, shots, None, 1)
