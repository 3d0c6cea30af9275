"""A search in a folder where one was begun: compared with what it was, interrupted anywhere, continued or refused."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import crosscue
from crosscue.errors import MethodError, RunError, StorageError, TrainingError
from crosscue.interruption import interruption
from crosscue.methods.contract import Batch, Method
from crosscue.selection import training
from crosscue.selection.candidates import Candidate
from crosscue.selection.choosing import choose
from crosscue.selection.pool import pool_of
from crosscue.selection.request import Request
from crosscue.selection.search import Search
from crosscue.selection.training import Trainee
from crosscue.selection.trials import SPENT, Study, Trial
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.images import write_source
from tests.selection.conftest import Clock
from tests.selection.test_search import SMALL, record, results, searched

STUDY = "selection/checkpoints"


def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends a search when its first trial is done."""
    whole = Search.trial

    def first(self: Search, *arguments: Any) -> Trial | str:
        if self.study.successful:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Search, "trial", first)
        run = searched(folder)
    assert run.outcome is not None and run.outcome.ended == "interrupted"


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("ended", [False, True])
def test_a_search_is_compared_with_what_it_was(folder: Path, ended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(folder) if ended else stopped(folder, monkeypatch)
    with pytest.raises(RunError, match=r"there is a run in this folder\. Add --resume"):
        searched(folder)
    with pytest.raises(RunError, match="budget was '10m' and is '11m'"):
        searched(folder, resume=True, budget="11m")
    other = write_source(folder.parent / "other", train=24, val=12, test=9)
    request = {"backbone": str(tiny.clip_folder()), "out": folder / "run", "precision": "fp32"}
    with pytest.raises(RunError, match="data was"):
        crosscue.adapt(other, **request, training=SMALL, resume=True)
    with pytest.raises(RunError, match=r"training\.seed was 1 and is 2"):
        crosscue.adapt(folder, **request, training=SMALL | {"seed": 2}, resume=True)
    searched(folder, resume=True)
    searched(folder, "whole")
    assert results(folder / "run") == results(folder / "whole")


@pytest.mark.usefixtures("brief")
def test_a_budget_that_was_too_small_is_replaced_in_the_same_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, clock = Method.forward, Clock()

    def slow(self: Method[Any], batch: Batch) -> dict[str, torch.Tensor]:
        clock.now += 0.5
        return forward(self, batch)

    monkeypatch.setattr(Method, "forward", slow)
    source, backbone, out = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"](), folder / "run"
    with pytest.raises(TrainingError, match="too small for one method"):
        choose(Request(source, backbone, out, TrainingConfig(**SMALL), "3s"), clock=clock)
    choose(Request(source, backbone, out, TrainingConfig(**SMALL), "1h"), clock=clock)
    assert [row["method"] for row in record(out)["trials"]].count("lora") == 3, "nothing of the first plan is left"


@contextlib.contextmanager
def signalled() -> Iterator[None]:
    """Lets Ctrl-C raise KeyboardInterrupt, as in a command; several processes of tests ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def at_the_end_of_validation(number: int, act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does `act` when the validation with this number, counted from 1, has ended."""
    whole, calls = training.validated, 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        found = whole(*arguments, **options)
        calls += 1
        if calls == number:
            act()
        return found

    monkeypatch.setattr(training, "validated", counted)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("number", [1, 4])
def test_ctrl_c_in_a_validation_ends_the_search(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is that of the untouched model, the fourth is the last one of the first trial."""
    with monkeypatch.context() as patched, signalled():
        at_the_end_of_validation(number, lambda: signal.raise_signal(signal.SIGINT), patched)
        run = searched(folder)
    assert run.outcome is not None and run.outcome.ended == "interrupted"
    assert not (folder / "run" / "selection.json").exists()
    assert Study(folder / "run" / STUDY).noted(SPENT, 0.0) > 0
    searched(folder, resume=True)
    searched(folder, "whole")
    assert results(folder / "run") == results(folder / "whole")


@pytest.mark.usefixtures("brief")
def test_a_method_that_cannot_learn_from_a_batch_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, calls = Method.forward, 0

    def faulty(self: Method[Any], batch: Batch) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += self.name == "lora"
        if calls > 5:  # 4 steps are timed
            raise MethodError("an image has nothing")
        return forward(self, batch)

    monkeypatch.setattr(Method, "forward", faulty)
    searched(folder)
    written = record(folder / "run")
    assert written["left_out"]["lora lr 0.001"] == written["left_out"]["lora lr 0.01"] == "an image has nothing"
    assert {row["method"] for row in written["trials"]} == {"zero_shot", "linear_probe"}


@pytest.mark.usefixtures("brief")
def test_no_checkpoint_of_a_trial_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.selection.pool.FEW", 200)
    stopped(folder, monkeypatch)
    trials = folder / "run" / STUDY
    assert list(trials.glob("*/fold-*/metrics.jsonl")) and not list(trials.glob("**/checkpoints"))


def test_a_single_training_does_not_start_in_the_folder_of_a_search(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "run", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    searched(folder)
    with pytest.raises(StorageError, match="other files in this folder, such as selection"):
        searched(folder, method="linear_probe")


def test_steps_are_timed_with_the_rows_of_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, backbone = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"]()
    monkeypatch.setattr("crosscue.selection.pool.FEW", 20)
    pool, seen = pool_of(source, backbone, None, None, 1, 200, 2), set[int | None]()
    forward = Method.forward

    def watched(self: Method[Any], batch: Batch) -> dict[str, torch.Tensor]:
        seen.add(self.backbone.rows.at_once)
        return forward(self, batch)

    monkeypatch.setattr(Method, "forward", watched)
    candidate = Candidate("lora", 1e-3, {"image_start_layer": 2})
    with Trainee(candidate, pool, TrainingConfig(batch_size=8, rows_at_once=3)) as trainee:
        assert trainee.seconds_per_step(candidate) > 0
    assert seen == {3}


@pytest.mark.parametrize("name", ["what?", "50%41", "a b#c"])
def test_the_study_lies_in_its_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    Study(tmp_path / name).note(SPENT, 7.0)
    assert (tmp_path / name / "trials.db").exists()
    assert Study(tmp_path / name).noted(SPENT, 0.0) == 7.0


def test_a_trial_is_opened_once(tmp_path: Path) -> None:
    study, candidate = Study(tmp_path), Candidate("lora", 2e-3)
    assert [study.opened(candidate, rung, 9) for rung in (0, 1, 0)] == [0, 1, 0]
    assert study.begun and not study.successful
    study.tell(1, Trial("lora", 2e-3, 9, 1.0, 3.0, {}, [3.0]))
    assert study.successful
    ended = Study(tmp_path).ended(candidate, 1)
    assert isinstance(ended, Trial) and ended.rsum == 3.0


def test_contexts_inside_each_other_share_their_flag() -> None:
    with interruption() as outer:
        with interruption() as inner:
            signal.raise_signal(signal.SIGINT)
        assert inner.requested and outer.requested
    with interruption() as later:
        assert not later.requested


@pytest.mark.usefixtures("brief")
def test_the_journal_of_a_run_has_no_shares(folder: Path) -> None:
    searched(folder)
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train", "validation"}
    assert not any("shares" in line for line in lines)


def test_ctrl_c_counts_where_the_training_fails_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, backbone = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"]()
    pool, candidate = pool_of(source, backbone, None, None, 1, 200, 2), Candidate("linear_probe", 1e-2)
    asked = True

    def failing(*_: Any, **options: Any) -> None:
        if asked:
            signal.raise_signal(signal.SIGINT)
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(training, "fit", failing)
    with Trainee(candidate, pool, TrainingConfig()) as trainee:
        arguments = candidate, candidate.training(TrainingConfig(), 4, 1), 4, folder / "trial", pool.folds[0]
        with pytest.raises(KeyboardInterrupt):
            trainee.fitted(*arguments)
        asked = False
        with pytest.raises(TrainingError):
            trainee.fitted(*arguments)


@pytest.mark.usefixtures("brief")
def test_the_first_encoding_is_no_part_of_a_validation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "empty"))
    source, backbone, clock = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"](), Clock()
    encode = type(backbone).image_state

    def slow(self: Any, pixels: torch.Tensor, until_layer: int) -> Any:
        clock.now += len(pixels)
        return encode(self, pixels, until_layer)

    monkeypatch.setattr(type(backbone), "image_state", slow)
    seen = list[Search]()
    monkeypatch.setattr(Search, "costs", lambda self, every: seen.append(self) or {})
    with pytest.raises(TrainingError, match=r"no method could be trained .* --budget 120m, or name"):
        choose(Request(source, backbone, folder / "run", TrainingConfig(**SMALL), "1h"), clock=clock)
    assert clock.now >= 36, "all images were encoded"
    assert seen[0].validation == 0.0
