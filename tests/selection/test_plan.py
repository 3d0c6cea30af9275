"""The plan of a search: which candidates it trains, through which layers, for how many steps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import crosscue
from crosscue.errors import RunError, TrainingError
from crosscue.selection.budget import Budget
from crosscue.selection.candidates import HEADS, NEEDY, PROMISING, Candidate, candidates, frozen_layers
from crosscue.selection.choosing import affordable_pool
from crosscue.selection.pool import Fold, Pool, some
from crosscue.selection.request import Request
from crosscue.selection.search import Search
from crosscue.selection.trials import PLAN, Study, Trial
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.selection.conftest import Clock


class Unhurried(Search):
    """A search without pairs that has 100 s left."""

    def __init__(self) -> None:
        study: Any = SimpleNamespace(noted=lambda name, default: default, note=lambda name, value: None)
        pool: Any = SimpleNamespace(
            backbone=None, frozen_layers=0, folds=[Fold([*range(320)], [])], crossed=False, fill=lambda: None
        )
        pool.pairs = [SimpleNamespace(negatives=("an edited caption",), synthetic="a caption")]
        super().__init__(pool, TrainingConfig(), Path("nowhere"), Budget(100.0, clock=lambda: 7.0), study)


def test_the_last_rung_leaves_time_to_build_its_method() -> None:
    """Of 90 s, two validations of 2.5 s leave 85 for steps of 1 s, and 80 are whole epochs of 10."""
    search = Unhurried()
    search.validation = 2.5
    assert search.steps(2, 360, [Candidate("lora", 1e-3)], {"lora": 1.0}) == 80


def test_a_trial_takes_the_time_of_its_steps_and_validations() -> None:
    """48 images of validation in batches of 32, each a third of the time of its step; from 100 steps on, four times."""
    search = Unhurried()
    search.pool.folds = [Fold([*range(320)], [*range(48)])]
    lora, costs = Candidate("lora", 1e-3), {"lora": 2.0, "linear_probe": 0.1}
    assert search.seconds(lora, 99, costs) == pytest.approx(99 * 2 + 2 * 0.5 * 2)
    assert search.seconds(lora, 100, costs) == pytest.approx(100 * 2 + 4 * 0.5 * 2)
    for seconds, steps in ((200.0, 99), (203.0, 99), (204.0, 100), (206.0, 101), (2.0, 0), (0.0, 0)):
        assert search.within(seconds, [lora], costs) == steps, seconds
    search.validation = 0.3
    assert search.seconds(Candidate("linear_probe", 1e-3), 400, costs) == pytest.approx(40 + 4 * 0.3)
    search.pool.folds, search.pool.crossed = [Fold([*range(36)], [*range(12)])] * 4, True
    assert search.seconds(lora, 10, costs) == pytest.approx(5 * 10 * 2 + 4 * 2 * 0.3), "its own takes .25 s"


def test_a_rung_has_whole_epochs_if_it_has_one() -> None:
    search = Unhurried()
    search.base = TrainingConfig(batch_size=8)
    assert search.steps(0, 30, [Candidate("lora", 1e-3)], {"lora": 1e-3}) == 30, "less than an epoch of 40"
    assert search.steps(1, 90, [Candidate("lora", 1e-3)], {"lora": 1e-3}) == 80


def test_a_rung_without_time_has_the_fewest_steps() -> None:
    search = Unhurried()
    search.budget.reserve(1000)
    assert search.steps(0, 40, [Candidate("lora", 1e-3)], {"lora": 1.0}) == 20, (
        "24 in whole epochs; they end with the budget"
    )


def test_a_short_budget_tries_the_most_promising_candidates() -> None:
    """A third of 90 s is enough for 24 steps of candidates that take 1.25 s together.

    LoRA and fine-tuning take 1 s. There is no room for dual prompts beside them, nor for a second rate.
    """
    every = candidates(tiny.tiny_backbones["clip"](), 2)
    rest = [candidate for candidate in every if not candidate.head and candidate.method in PROMISING[:4]]
    costs = {"lora": 0.55, "full_ft": 0.65, "dual_prompt": 0.06, "maple": 0.04}
    search = Unhurried()
    entered = search.affordable(rest, costs)
    assert [one.name for one in entered] == ["lora lr 0.002", "maple lr 0.004", "full_ft lr 6e-05"], (
        "the cheapest first"
    )
    assert search.left_out.keys() - NEEDY.keys() == {one.name for one in rest} - {one.name for one in entered}
    assert [one.name for one in search.affordable(rest, dict.fromkeys(costs, 9.0))] == [one.name for one in entered], (
        "resumed"
    )
    assert [one.name for one in Unhurried().affordable(rest, costs | {"lora": 3.7})] == ["lora lr 0.002"], (
        "with all the time"
    )
    assert Unhurried().affordable(rest, dict.fromkeys(costs, 3.8)) == []


def test_a_trial_that_has_begun_goes_on_while_time_is_left(tmp_path: Path) -> None:
    """The 24 s that it needs are not left for a new one."""
    search, candidate = Unhurried(), Candidate("lora", 1e-3)
    ended = Trial("lora", 1e-3, 20, 4.0, 9.0, {}, [])
    trainee: Any = SimpleNamespace(trained=lambda *_: ended)
    silent: Any = lambda *_: None  # noqa: E731 - a study that keeps nothing
    study: Any = SimpleNamespace(ended=silent, opened=lambda *_: 3, tell=silent, fail=silent, note=silent)
    search.study = study
    search.folder = tmp_path
    search.budget.reserve(80)
    search.validation = 2.0
    assert search.trial(trainee, candidate, 0, 20, {"lora": 1.0}) == "the budget had no time for 20 steps"
    (tmp_path / "003-lora").mkdir()
    assert search.trial(trainee, candidate, 0, 20, {"lora": 1.0}) is ended


class Planned(Unhurried):
    """A search whose rungs are only noted; the rate is the Rsum, and the normalised scores of the untouched model take 4 s."""

    def __init__(self, steps: list[int]) -> None:
        super().__init__()
        self.wanted, self.noted = steps, list[tuple[int, list[float], int]]()

    def untouched(self, *, normalised: bool = False) -> Trial:
        return Trial("zero_shot", None, 0, 4.0 if normalised else 0.0, 0.0, {}, [])

    def costs(self, every: Iterable[Candidate]) -> dict[str, float]:
        return dict.fromkeys((candidate.method for candidate in every), 0.03)

    def steps(self, rung: int, most: int, members: list[Candidate], costs: dict[str, float]) -> int:
        return self.wanted[rung]

    def rung(self, rung: int, members: list[Candidate], steps: int, costs: dict[str, float]) -> list[Trial]:
        self.noted.append((rung, [member.lr for member in members], steps))
        return [Trial(member.method, member.lr, steps, 0.0, member.lr, {}, []) for member in members]


RATES = (3.0, 7.0, 1.0, 6.0, 2.0, 5.0, 4.0)
ALL, THIRD, NINTH = list(RATES), [7.0, 6.0, 5.0], [7.0]
"""Candidates of each rung: the best third of those before."""


@pytest.mark.parametrize(
    ("steps", "rungs"),
    [
        ([8, 16, 20], [(0, ALL, 8), (1, THIRD, 16), (2, NINTH, 20)]),
        ([8, 15, 20], [(0, ALL, 8), (2, NINTH, 20)]),
        ([8, 15, 9], [(0, ALL, 8), (2, NINTH, 9)]),
        ([8, 16, 16], [(0, ALL, 8), (1, THIRD, 16)]),
    ],
)
def test_a_rung_that_is_hardly_longer_than_the_one_before_is_left_out(
    steps: list[int], rungs: list[tuple[int, list[float], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = [Candidate("lora", lr) for lr in RATES]
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: every)
    search = Planned(steps)
    trials = search.run()
    assert search.noted == [(3, [], 0), *rungs], "the heads first; there are none here"
    assert len(trials) == 1 + sum(len(rates) for _, rates, _ in rungs)
    encoding = 320 * 0.03 / (3 * 32)
    assert search.budget.left() == pytest.approx(100 - 2 * (4 + encoding)), (
        "the winner's scores and banks take time after the trials"
    )


def test_a_single_candidate_goes_to_the_last_rung_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: [Candidate("lora", lr) for lr in (1.0, 2.0)])
    search = Planned([8, 30, 30])
    search.run()
    assert search.noted[1:] == [(0, [1.0, 2.0], 8), (2, [2.0], 30)]
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: [Candidate("lora", 1.0)])
    search = Planned([8, 30, 30])
    search.run()
    assert search.noted[1:] == [(2, [1.0], 30)], "there was never another"


class Timing:
    """A stand-in for the training of a candidate, whose four timed steps take 1.5 s each."""

    def __init__(self, candidate: Candidate, pool: Pool, base: TrainingConfig) -> None:
        self.candidate = candidate

    def __enter__(self) -> Timing:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def seconds_per_step(self, candidate: Candidate, clock: Clock) -> float:
        clock.now += 4 * 1.5
        return 1.5


def test_the_most_promising_methods_are_timed_in_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 90 s, three methods take 18 s, which is not more than a fifth; the fourth makes it more."""
    monkeypatch.setattr("crosscue.selection.search.Trainee", Timing)
    search = Unhurried()
    search.budget = Budget(90.0, clock=Clock())
    every = sorted(
        (one for one in candidates(tiny.tiny_backbones["clip"](), 2) if not one.head), key=lambda one: one.promise
    )
    assert search.costs(every) == dict.fromkeys(PROMISING[:4], 1.5)
    assert search.left_out.keys() - NEEDY.keys() == set(PROMISING[4:])


def test_half_of_the_budget_encodes_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 of 40 seconds are enough for 10 images of 2 seconds, of which their captions take .5."""
    monkeypatch.setattr("crosscue.selection.choosing.encoding_seconds", lambda *_: 1.5)
    monkeypatch.setattr("crosscue.selection.choosing.caption_seconds", lambda *_: 0.5)
    monkeypatch.setattr("crosscue.selection.choosing.FEW", 4)
    source, backbone = crosscue.read_pairs(folder), tiny.tiny_backbones["clip"]()
    request = Request(source, backbone, folder / "run", TrainingConfig())
    pool = affordable_pool(request, Study(folder / "run"), Budget(40.0))
    assert (len(pool.pairs), pool.frozen_layers) == (10, 2)
    monkeypatch.setattr("crosscue.selection.pool.FEW", 4)
    pool = affordable_pool(request, Study(folder / "split"), Budget(60.0))
    assert (len(pool.folds[0].train), len(pool.folds[0].val)) == (10, 5), "15 images, of which a third validates"
    with pytest.raises(TrainingError, match="--budget 32s"):
        affordable_pool(request, Study(folder / "short"), Budget(15.0))


@pytest.mark.parametrize(("seconds", "start"), [(0.25, 6), (0.26, 7)])
def test_the_time_behind_the_encoding_says_what_learns(
    seconds: float, start: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """200 steps of 3 * 8 * .25 * 2/8 = 1.5 s fit into half of 600 s."""
    made: Any = lambda *arguments: arguments[-1]  # noqa: E731 - the layers that stay frozen
    monkeypatch.setattr("crosscue.selection.choosing.encoding_seconds", lambda *_: seconds)
    monkeypatch.setattr("crosscue.selection.choosing.caption_seconds", lambda *_: 0.0)
    monkeypatch.setattr("crosscue.selection.choosing.pool_of", made)
    eight: Any = SimpleNamespace(image_layers=8, text_layers=3)
    request = Request(crosscue.read_pairs(folder), eight, folder / "run", TrainingConfig(batch_size=8))
    assert affordable_pool(request, Study(folder / "run"), Budget(600.0)) == start
    assert ("the last image layer alone" in capsys.readouterr().err) == (start == 7)


def test_the_search_of_another_version_is_not_resumed(folder: Path) -> None:
    request = Request(crosscue.read_pairs(folder), tiny.tiny_backbones["clip"](), folder / "run", TrainingConfig())
    study = Study(folder / "run")
    study.note(PLAN, {"most": 10})
    with pytest.raises(
        RunError, match=r"another version of crosscue began this search\. Start anew with another --out"
    ):
        affordable_pool(request, study, Budget(40.0))


def test_the_budget_says_how_many_image_layers_learn() -> None:
    """A step of 32 images of .25 s each takes 3 * 32 * .25 * 3/12 = 6 s through a quarter of 12 layers; 200 are wanted."""
    towers: Any = SimpleNamespace(image_layers=12)
    eight: Any = SimpleNamespace(image_layers=8, text_layers=3)
    assert frozen_layers(towers, 32, 0.25, 1200.0) == 9
    assert frozen_layers(towers, 32, 0.25, 1199.0) == 11
    assert frozen_layers(towers, 33, 0.25, 1200.0) == 11
    for start in (6, 7):
        made = {one.method: one.options for one in candidates(eight, start)}
        assert {made[name]["image_start_layer"] for name in made if name not in HEADS} == {start}
        assert made["maple"]["depth"] == 8 - start


def test_images_are_drawn_by_the_seed() -> None:
    draws = [some(range(100, 200), 10, seed) for seed in (0, 1, 2)]
    assert draws[1] == some(range(100, 200), 10, 1)
    assert len({*map(tuple, draws)}) == 3
    assert all(draw == sorted({*draw}) and {*draw} <= {*range(100, 200)} for draw in draws)


def test_time_is_kept_for_the_bank_of_the_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 960 images 500 are in the bank, and 40 are validated on. LoRA, the slowest, takes 1 / (3 * 32) s for each."""
    monkeypatch.setattr("crosscue.selection.search.candidates", lambda *_: candidates(tiny.tiny_backbones["clip"](), 2))
    search = Unhurried()
    search.pool.folds = [Fold([*range(960)], [*range(40)])]
    assert search.encoding({"lora": 1.0, "full_ft": 0.75, "linear_probe": 80.0}) == pytest.approx(540 / 96)
    assert search.encoding({"linear_probe": 80.0}) == 0
