"""Method `auto`: what it writes, that it sees no test pair, keeps its budget, and goes on after a kill."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import crosscue
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import BackboneError, DataError, MethodError, OptionError, RunError, TrainingError
from crosscue.methods.contract import Batch, Method
from crosscue.methods.registry import METHODS, build
from crosscue.selection.candidates import NEEDY, PROMISING, Candidate, candidates
from crosscue.selection.choosing import choose
from crosscue.selection.pool import held_share, pool_of
from crosscue.selection.request import Request
from crosscue.selection.search import Search
from crosscue.selection.training import Interrupted
from crosscue.selection.trials import SPENT, Study, Trial
from crosscue.training.config import TrainingConfig
from crosscue.training.loop import Outcome
from tests import tiny
from tests.cli import refused, succeeds
from tests.images import draw, write_source
from tests.selection.conftest import Clock, quick, short
from tests.training.runs import learned, started

SMALL = {"batch_size": 8}


def searched(folder: Path, out: str = "run", **changes: Any) -> crosscue.Run:
    return crosscue.adapt(
        folder, backbone=str(tiny.clip_folder()), out=folder / out, precision="fp32", training=SMALL, **changes
    )


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "selection.json").read_text())


def results(run: Path) -> list[tuple[str, float, int, float]]:
    return [(row["method"], row["lr"], row["steps"], row["rsum"]) for row in record(run)["trials"]]


@pytest.mark.slow
def test_adapt_chooses_a_method_and_writes_a_run_like_any_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    backbone = ("--backbone", tiny.clip_folder(), "--precision", "fp32")
    printed = succeeds("adapt", "--data", "images", *backbone, "--out", "run", cwd=folder.parent)
    written = record(folder.parent / "run")
    assert {row["method"] for row in written["trials"]} == {
        *("zero_shot", "linear_probe", "clip_adapter", "lora", "dual_prompt", "maple", "full_ft")
    }
    assert written["left_out"].keys() == {"dcar", "alip", "action", "acke"}
    assert "needs negatives" in written["left_out"]["dcar"] and "'synthetic'" in written["left_out"]["alip"]
    (chosen,) = [row for row in written["trials"] if row["chosen"]]
    assert "| 0 | zero_shot |" in printed
    assert "not tried: action: needs triplets" in printed
    assert f"Chosen: {chosen['method']}" in printed
    config = yaml.safe_load((folder.parent / "run" / "config.yaml").read_text())
    assert (config["method"], config["chosen_by"]) == (chosen["method"], "auto")
    succeeds("evaluate", "run", "--data", "images", *backbone, "--json", "result.json", cwd=folder.parent)
    assert json.loads((folder.parent / "result.json").read_text())["protocol"]["method"] == chosen["method"]
    again = succeeds("adapt", "--config", "run/config.yaml", "--out", "again", cwd=folder.parent)
    assert "finished after" in again
    card = (folder.parent / "run" / "README.md").read_text()
    assert written["conclusion"] in card


@pytest.mark.usefixtures("brief")
def test_the_chosen_run_is_the_trial_that_won(folder: Path) -> None:
    run = searched(folder)
    written = record(folder / "run")
    (chosen,) = [row for row in written["trials"] if row["chosen"]]
    assert chosen["steps"], "a trained method is ahead on this data"
    val = crosscue.read_pairs(folder).split("val")
    assert run.evaluate(val).metrics()["rsum"] == pytest.approx(chosen["rsum"])
    loaded = crosscue.load(folder / "run", precision="fp32")
    assert loaded.evaluate(val).metrics()["rsum"] == pytest.approx(chosen["rsum"])
    train = crosscue.read_pairs(folder).split("train")
    usual = loaded.evaluate(val, crosscue.Inference(normalise="bank", beta=20.0), bank=train).metrics()["rsum"]
    assert written["normalised"][f"{chosen['method']} lr {chosen['lr']:g}"] == pytest.approx(usual)
    assert (
        written["normalised"]["untouched"]
        == written["trials"][1]["rsum"]
        != pytest.approx(written["trials"][0]["rsum"])
    )
    assert [row["normalised"] for row in written["trials"][:3]] == [False, True, False]
    assert written["inference"] == {}
    kept = loaded.evaluate(val, crosscue.Inference(normalise="bank", beta=20.0)).metrics()["rsum"]
    assert kept == pytest.approx(usual)  # the folder contains the bank of the training pairs
    assert not list((folder / "run" / "selection" / "checkpoints").glob("*/"))


@pytest.mark.usefixtures("brief")
def test_two_searches_with_one_seed_are_equal(folder: Path) -> None:
    first, second = (searched(folder, out) for out in ("first", "second"))
    assert first.method.name == second.method.name
    assert results(folder / "first") == results(folder / "second")
    one, other = learned(folder / "first"), learned(folder / "second")
    assert all(torch.equal(one[name], other[name]) for name in one)
    searched(folder, "other", budget="2h")  # the budget does not bind
    assert results(folder / "other") == results(folder / "first")


@pytest.mark.usefixtures("brief")
def test_the_test_split_does_not_change_the_choice(folder: Path) -> None:
    searched(folder, "before")
    listing = folder / "captions.jsonl"
    rows = [json.loads(line) for line in listing.read_text().splitlines()]
    for row in rows:
        if row["split"] == "test":
            row["caption"] = "something else"
            draw(folder / row["image"], (0, 0, 0), 99)
    listing.write_text("\n".join(map(json.dumps, rows)))
    searched(folder, "after")
    assert results(folder / "after") == results(folder / "before")
    one, other = learned(folder / "after"), learned(folder / "before")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("brief")
def test_a_validation_image_does_change_the_results(folder: Path) -> None:
    """The counterpart of the test before: it could notice a leak."""
    searched(folder, "before")
    draw(folder / "30.jpg", (0, 0, 0), 99)
    searched(folder, "after")
    assert results(folder / "after") != results(folder / "before")


@pytest.mark.usefixtures("brief")
def test_few_images_are_validated_in_folds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.selection.pool.FEW", 200)
    source, backbone = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"]()
    pool = pool_of(source, backbone, None, None, 1, 200, 2)
    assert sorted(index for fold in pool.folds for index in fold.val) == list(range(36))
    for fold in pool.folds:
        assert sorted([*fold.train, *fold.val]) == list(range(36))
        assert len({pool.pairs[index].category for index in fold.val}) == 4
    searched(folder)
    data = json.loads((folder / "run" / "environment.json").read_text())["data"]
    assert (data["train"]["images"], data["val"]) == (36, None)
    assert "36 images in 4 folds" in record(folder / "run")["validated_on"]
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert (data["folds"], config["folds"], config["validation"]) == (4, 4, None)
    assert "Validated on 4 folds of these images" in (folder / "run" / "README.md").read_text()


def test_a_split_of_few_validation_images_does_not_choose_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image has no standard error; seven choose by chance."""
    monkeypatch.setattr("crosscue.selection.pool.FEW", 20)
    backbone = tiny.tiny_backbones["clip"]()
    for val, folds in ((7, 4), (8, 1)):
        source = crosscue.read_pairs(write_source(tmp_path / str(val), train=24, val=val))
        pool = pool_of(source, backbone, None, None, 1, 200, 2)
        assert (len(pool.folds), len(pool.pairs)) == (folds, 24 + val)
    pool = pool_of(crosscue.read_pairs(tmp_path / "7"), backbone, None, None, 1, 16, 2)
    assert (len(pool.folds), len(pool.pairs)) == (4, 16), "no more images than the budget can encode"


def test_a_share_that_folds_do_not_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = crosscue.read_pairs(write_source(tmp_path, train=24, val=0))
    backbone, line = (
        tiny.tiny_backbones["clip"](),
        "so few images are validated in 4 folds; validation 0.375 is not used",
    )
    for share, named in ((0.375, True), (True, False), (None, False)):
        assert len(pool_of(source, backbone, None, share, 1, 200, 2).folds) == 4
        assert (line in capsys.readouterr().err) == named


def test_about_two_hundred_images_are_held_out() -> None:
    for count, share in ((600, 0.25), (1000, 0.2), (5000, 0.1)):
        pairs = Pairs(Pair(ImageFile(Path("0.jpg")), ("a thing",), str(number)) for number in range(count))
        assert held_share(pairs, None) == pytest.approx(share)
        assert held_share(pairs, 0.3) == 0.3


STEP = {"linear_probe": 0.5, "lora": 2.0}
"""Seconds of a training step on the machine of the fake clock."""


@pytest.fixture
def timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    forward = Method.forward

    def run(
        budget: str, look: float = 0.0, slower: float = 1, after: Mapping[str, int] = {"linear_probe": 4, "lora": 4}
    ) -> dict[str, Any]:
        clock, calls = Clock(look), Counter[str]()

        def slow(self: Method[Any], batch: Batch) -> dict[str, torch.Tensor]:
            calls[self.name] += 1
            clock.now += STEP[self.name] * (slower if calls[self.name] > after[self.name] else 1)  # 4 steps are timed
            return forward(self, batch)

        monkeypatch.setattr(Method, "forward", slow)
        source, backbone, out = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"](), folder / f"timed {budget}"
        choose(Request(source, backbone, out, TrainingConfig(**SMALL), budget), clock=clock)
        return record(out)

    return run


@pytest.mark.usefixtures("brief")
def test_a_budget_bounds_the_steps(timed: Callable[..., dict[str, Any]]) -> None:
    ample, short_of_time, shorter = timed("1h"), timed("56s"), timed("48s")
    assert [row["steps"] for row in ample["trials"]] == [0, 0, 12, 12, 2, 2, 6]
    assert short_of_time["seconds"] <= 56 and shorter["seconds"] <= 48
    steps = [[row["steps"] for row in search["trials"]] for search in (short_of_time, shorter)]
    assert steps[0] == [0, 0, 12, 12, 1, 1, 6], "the first rung has a third of the time that the heads leave"
    assert steps[1] == [0, 0, 11, 11, 6], "the heads have a quarter, and one rate is left"


@pytest.mark.usefixtures("brief")
def test_a_rung_is_entered_by_the_best_of_the_rung_before(timed: Callable[..., dict[str, Any]]) -> None:
    rows = timed("1h")["trials"]
    first, second = ([row for row in rows if row["steps"] == steps] for steps in (2, 6))
    assert first[0]["rsum"] != first[1]["rsum"]
    assert [row["lr"] for row in second] == [max(first, key=lambda row: row["rsum"])["lr"]]


@pytest.mark.usefixtures("brief")
def test_a_method_that_is_too_costly_is_left_out(
    timed: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosscue.selection.search.LEAST_STEPS", 6)
    short_of_time = timed("25s")
    assert (
        short_of_time["left_out"]["lora lr 0.001"] == "no time beside more promising candidates: a step takes 2 s here"
    )
    assert {row["method"] for row in short_of_time["trials"]} == {"zero_shot", "linear_probe"}
    assert short_of_time["seconds"] <= 25


@pytest.mark.usefixtures("brief")
def test_a_budget_too_small_for_one_method_says_the_least(timed: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(TrainingError, match=r"budget of 3s is too small .* Give at least \d+s: --budget \d+s") as error:
        timed("3s")
    least = re.search(r"--budget (\S+)$", str(error.value))
    assert least
    assert timed(least[1])["trials"][2]["method"] == "linear_probe"


@pytest.mark.usefixtures("brief")
def test_steps_that_get_slower_do_not_exceed_the_budget(timed: Callable[..., dict[str, Any]]) -> None:
    slow = timed("100s", slower=12)
    assert slow["seconds"] <= 100 + 12 * STEP["linear_probe"]  # the step that has begun
    assert [row["method"] for row in slow["trials"]] == ["zero_shot", "zero_shot", "linear_probe"]
    assert any("the budget ended during its training" in reason for reason in slow["left_out"].values())


@pytest.mark.usefixtures("brief")
def test_a_training_that_the_budget_cuts_off_counts_up_to_its_last_validation(
    timed: Callable[..., dict[str, Any]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last rung has 6 steps, 3 an epoch, and each takes 12 times as long as those of the rung before."""
    for place in ("candidates.LONG", "search.LONG"):
        monkeypatch.setattr(f"crosscue.selection.{place}", 3)
    monkeypatch.setattr("crosscue.selection.choosing.chosen", lambda trials, methods: trials[-1])
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    written = timed("100s", slower=12, after={"linear_probe": 100, "lora": 8})
    last = written["trials"][-1]
    assert (last["method"], last["steps"], last["cut_off"], last["chosen"]) == ("lora", 3, True, True)
    assert not any(row["cut_off"] for row in written["trials"][:-1])
    run = folder / "timed 100s"
    assert "| 3, cut off |" in (run / "README.md").read_text()
    assert (written["outcome"]["ended"], written["outcome"]["epochs"]) == ("stopped early", 1)
    val = crosscue.read_pairs(folder).split("val")
    loaded = crosscue.load(run, tiny.tiny_backbones["clip"]())
    assert loaded.evaluate(val).metrics()["rsum"] == pytest.approx(last["rsum"])


@pytest.mark.usefixtures("brief")
def test_a_budget_too_small_for_the_images_says_the_least(timed: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(TrainingError, match=r"too small to encode the images .* --budget \d+m"):
        timed("2m", 1000.0)


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_a_killed_search_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """kill -9 in a trial; the resumed search equals one without the interruption."""
    searched(folder, "whole")
    code = f"""
import time, crosscue
from crosscue.training import loop
from crosscue.selection import pool, search
from tests.selection.conftest import short
search.candidates = short
search.STEPS, search.LEAST_STEPS, search.HEAD_STEPS, search.LEAST_HEAD_STEPS, pool.FEW = (2, 4, 6), 1, 12, 4, 20
step = loop.Journal.write
def slow(self, *arguments):
    step(self, *arguments)
    time.sleep(0.25)
loop.Journal.write = slow
crosscue.adapt(Path({str(folder)!r}), backbone=backbone, out=Path({str(folder / "cut")!r}), precision="fp32", training={SMALL!r})
"""
    trials = folder / "cut" / "selection" / "checkpoints"
    process = started(code, trials / "001-linear_probe" / "metrics.jsonl", 4)
    process.kill()
    process.join()
    assert not (folder / "cut" / "selection.json").exists()
    capsys.readouterr()
    resumed = searched(folder, "cut", resume=True)
    tried = capsys.readouterr().err
    assert "trial 1: linear_probe" in tried
    assert "trial 0:" not in tried  # it had ended
    assert results(folder / "cut") == results(folder / "whole")
    one, other = learned(folder / "cut"), learned(folder / "whole")
    assert all(torch.equal(one[name], other[name]) for name in one)
    again = searched(folder, "cut", resume=True)  # finished: nothing is computed
    assert again.outcome == resumed.outcome


def test_an_interrupted_search_keeps_the_time_it_took(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def interrupted(search: Search) -> list[Trial]:
        clock.now += 7
        raise Interrupted(build("zero_shot", search.pool.backbone), Outcome("interrupted", 3, 1, None, None, 7.0))

    monkeypatch.setattr(Search, "run", interrupted)
    source, backbone = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"]()
    for spent in (7, 14):
        choose(Request(source, backbone, folder / "run", TrainingConfig()), resume=True, clock=clock)
        assert Study(folder / "run/selection/checkpoints").noted(SPENT, 0.0) == spent


@pytest.mark.usefixtures("brief")
def test_a_search_that_helps_nothing_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: [Candidate("linear_probe", 1e-9)])
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: winner)
    run = searched(folder)
    assert run.method.name == "zero_shot"
    assert record(folder / "run")["conclusion"].startswith("Nothing beats the untouched model on validation.")
    test = crosscue.read_pairs(folder).split("test")
    untouched = crosscue.evaluate("zero_shot", test, tiny.clip_folder(), precision="fp32")
    assert crosscue.load(folder / "run", precision="fp32").evaluate(test).metrics() == untouched.metrics()
    assert crosscue.before_and_after(run, test).after.metrics() == untouched.metrics()
    assert "Not trained" in (folder / "run" / "README.md").read_text()


@pytest.mark.usefixtures("brief")
def test_the_untouched_model_with_normalised_scores_can_be_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosscue.selection.choosing.normalised_floor", lambda winner, floor, rival: floor)
    backbone = ("--backbone", tiny.clip_folder(), "--precision", "fp32")
    printed = succeeds("adapt", "--data", "images", *backbone, "--out", "run", cwd=folder.parent)
    assert "Chosen: the untouched model with normalised scores." in printed
    assert "| zero_shot, normalised |" in printed
    command = printed.splitlines()[-1].removeprefix("measure it: crosscue ")
    assert command.endswith("--normalise bank")
    succeeds(*shlex.split(command), cwd=folder.parent)
    written = record(folder.parent / "run")
    (chosen,) = [row for row in written["trials"] if row["chosen"]]
    assert (chosen["method"], chosen["normalised"], chosen["trial"]) == ("zero_shot", True, 1)
    assert crosscue.load(folder.parent / "run").method.name == "zero_shot"


@pytest.mark.usefixtures("brief")
def test_a_missing_package_leaves_its_method_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    searched(folder)
    assert "pip install 'crosscue[lora]'" in record(folder / "run")["left_out"]["lora"]


@pytest.mark.usefixtures("brief")
def test_a_method_whose_training_fails_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*short(None, 2)[:1], Candidate("linear_probe", 1e30)]
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: rows)
    searched(folder)
    assert "Training stopped" in record(folder / "run")["left_out"]["linear_probe lr 1e+30"]


def test_bad_input_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, message in (
        ({"budget": "soon"}, "budget is 'soon'; it must be a number above 0 and a unit"),
        ({"budget": "0m"}, "budget is '0m'"),
        ({"method": "auto", "options": {"depth": 2}}, "method 'auto' has no options of its own"),
        ({"method": "coop", "budget": "1m"}, "method 'coop' has no budget"),
        (
            {"method": "auot"},
            "there is no method 'auot'. Did you mean 'auto'\\? Choose from: acke, acke_released, action, alip, auto",
        ),
        ({"validation": False}, "chooses on validation pairs"),
    ):
        with pytest.raises((OptionError, DataError, MethodError), match=message):
            searched(folder, **changes)
    with pytest.raises(OptionError, match=r"chooses training\.lr itself"):
        crosscue.adapt(folder, "auto", str(tiny.clip_folder()), training={"lr": 0.1}, out=folder / "run")
    few = write_source(folder / "few", train=6, val=1)
    with pytest.raises(DataError, match=r"7 images to learn from; method 'auto' needs at least 8"):
        searched(few)
    assert not (folder / "run").exists()
    for given in ({"training": {"epochs": 1}}, {"options": {"depth": 1}}):
        with pytest.raises(BackboneError, match="nowhere"):  # a single training, so the options fit
            crosscue.adapt(folder, backbone="nowhere", out=folder / "run", **given)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptionError, match="pip install optuna"):
        searched(folder)


def test_the_folder_of_another_run_is_refused(folder: Path) -> None:
    options = ("--data", folder, "--backbone", tiny.clip_folder(), "--precision", "fp32", "--out", folder / "run")
    succeeds("adapt", "--method", "linear_probe", *options, "--training.epochs", 1)
    assert "there is a run in this folder" in refused("adapt", *options)
    assert "method was 'linear_probe' and is 'dual_prompt'" in refused(
        "adapt", *options, "--training.epochs", 1, "--resume"
    )
    with pytest.raises(RunError, match="method was 'linear_probe' and is 'auto'"):
        searched(folder, resume=True)


def test_every_candidate_is_a_method() -> None:
    every = candidates(tiny.tiny_backbones["clip"](), 2)
    names = [candidate.name for candidate in every]
    assert len(names) == len(set(names))
    assert {name.split()[0] for name in names} | NEEDY.keys() <= METHODS.keys()
    made = {candidate.method: candidate for candidate in every}
    assert made["full_ft"].options["alpha"] == 0.5, "half-blended"
    assert {one.method for one in every if not one.head} == set(PROMISING)
    first = {one.method: one.lr for one in every if not one.place}
    assert first == {
        **{"linear_probe": 1e-4, "clip_adapter": 3e-4, "lora": 2e-3, "full_ft": 6e-5},
        **{"dual_prompt": 6e-3, "maple": 4e-3, "dcar": 1e-3, "alip": 1e-3},
    }
    sizes = {name: made[name].batch_size(TrainingConfig(batch_size=8)) for name in ("linear_probe", "lora")}
    assert sizes == {"linear_probe": 128, "lora": 8}
