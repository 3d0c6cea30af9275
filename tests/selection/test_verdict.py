"""The choice among trials: the highest Rsum, one standard error, and the share of each image in Rsum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from crosscue.evaluation.ranks import ranks
from crosscue.evaluation.recall import recall, rsum
from crosscue.selection.budget import budget_of, seconds_of
from crosscue.selection.training import shares
from crosscue.selection.trials import Trial
from crosscue.selection.verdict import Verdict, cheaper, chosen, normalised_floor

METHODS = ["linear_probe", "lora", "full_ft"]


def trial(method: str, *scores: float, lr: float = 0.1) -> Trial:
    return Trial(method, lr, 10, 1.0, float(np.mean(scores)), {}, list(scores))


def test_the_highest_rsum_is_chosen_and_a_cheaper_method_within_one_standard_error_is_named() -> None:
    untouched, probe = trial("zero_shot", 0, 0, 0, 0), trial("linear_probe", 90, 110, 100, 100)
    lora = trial("lora", 130, 80, 120, 80)  # 2.5 ahead of the probe, standard error 13.1
    assert chosen([untouched, probe, lora], METHODS) is lora
    assert cheaper([untouched, probe, lora], lora, METHODS) is probe
    ahead = trial("lora", 120, 140, 131, 130)  # 30.25 ahead, standard error 0.25
    assert chosen([untouched, probe, ahead], METHODS) is ahead
    assert cheaper([untouched, probe, ahead], ahead, METHODS) is None
    assert cheaper([untouched, probe, trial("linear_probe", 90, 110, 100, 100.1)], probe, METHODS) is None
    best = trial("full_ft", 131, 81, 121, 81)
    assert cheaper([untouched, lora, probe, best], best, METHODS) is probe


def test_of_equal_trials_the_cheaper_method_is_chosen() -> None:
    untouched, probe, lora = trial("zero_shot", 0, 0), trial("linear_probe", 10, 20), trial("lora", 20, 10)
    assert chosen([untouched, lora, probe], METHODS) is probe


def test_the_error_is_that_of_the_difference() -> None:
    """Images differ much, the two trials differ alike on all of them: their own errors would hide the gain."""
    probe, lora = trial("linear_probe", 0, 300, 600, 300), trial("lora", 10, 311, 610, 310)
    assert chosen([trial("zero_shot", 0, 0, 0, 0), probe, lora], METHODS) is lora
    difference, error = lora.over(probe)
    assert (difference, error) == (pytest.approx(10.25), pytest.approx(0.25))


def test_the_better_rate_of_the_cheaper_method_is_named() -> None:
    worse, better = trial("linear_probe", 90, 110, lr=0.1), trial("linear_probe", 95, 110, lr=0.2)
    best = trial("full_ft", 80, 130)
    assert cheaper([trial("zero_shot", 0, 0), worse, better, best], best, METHODS) is better


def test_the_untouched_model_stays_unless_a_trial_is_ahead_by_more_than_its_error() -> None:
    untouched, noisy = trial("zero_shot", 100, 100, 100), trial("lora", 150, 60, 105)  # 5 ahead, standard error 26
    assert chosen([untouched, noisy], METHODS) is untouched
    assert cheaper([untouched, noisy], Trial("zero_shot", None, 0, 1.0, 100.0, {}, [100, 100, 100]), METHODS) is None
    assert chosen([untouched, noisy, trial("linear_probe", 103, 102, 104)], METHODS).method == "linear_probe"


def test_what_is_named_is_ahead_of_the_untouched_model_and_behind_the_winner() -> None:
    untouched, winner = trial("zero_shot", 100, 100, 100), trial("full_ft", 103, 102, 104)
    noisy = trial(
        "lora", 150, 60, 105
    )  # 2 ahead of the winner, and 5 of the untouched model with a standard error of 26
    worse = trial("linear_probe", 95, 110, 80)  # 5 behind the untouched model, within one standard error of the winner
    assert chosen([untouched, noisy, worse, winner], METHODS) is winner
    assert cheaper([untouched, noisy, worse, winner], winner, METHODS) is None
    verdict = Verdict([untouched, noisy, winner], winner, noisy, None, {}, "1m", "3 images", {})
    assert "lora lr 0.1 has a higher Rsum, 105.0, but is ahead of the untouched model by 5.0" in verdict.conclusion()
    named = replace(verdict, best=winner, cheaper=worse)
    assert "higher" not in named.conclusion()
    assert "The cheaper linear_probe lr 0.1, 10 steps, cannot be told from it: 8.0 behind" in named.conclusion()
    assert (verdict.to_dict(1)["cheaper"], named.to_dict(1)["cheaper"]) == (None, "linear_probe lr 0.1")


@pytest.mark.filterwarnings("ignore:Degrees of freedom:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_one_image_tells_nothing() -> None:
    untouched = trial("zero_shot", 100)
    assert chosen([untouched, trial("lora", 150)], METHODS) is untouched


def test_normalised_scores_of_the_untouched_model_are_an_eligible_row() -> None:
    untouched, floor = trial("zero_shot", 100, 100, 100, 100), trial("zero_shot", 120, 121, 120, 121)
    assert normalised_floor(untouched, floor, None) is floor
    assert normalised_floor(untouched, trial("zero_shot", 130, 80, 130, 80), None) is untouched  # within one error
    probe, normalised = trial("linear_probe", 110, 110, 111, 110), trial("linear_probe", 140, 141, 140, 141)
    assert normalised_floor(probe, floor, normalised) is probe  # normalised, it is ahead again
    assert normalised_floor(probe, floor, trial("linear_probe", 121, 120, 121, 120)) is floor
    assert normalised_floor(probe, floor, trial("linear_probe", 150, 100, 150, 100)) is floor  # ahead within one error
    assert normalised_floor(probe, floor, None) is floor  # after folds
    assert normalised_floor(trial("linear_probe", 130, 130, 131, 130), floor, None).method == "linear_probe"


def test_the_shares_of_the_images_have_rsum_as_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(n, 8, generator=generator)) for n in (7, 16))
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 4, 5, 6, 6, 6])
    i2t, t2i = ranks(images, texts, owner)
    assert np.mean(shares(i2t, t2i, owner.numpy())) == pytest.approx(rsum(recall(i2t), recall(t2i)))


def test_budgets() -> None:
    assert [seconds_of(budget) for budget in ("90s", "10m", "1.5h")] == [90, 600, 5400]
    assert [budget_of(seconds) for seconds in (0.2, 61, 90.5, 600)] == ["1s", "61s", "2m", "10m"]
