"""Learning rates, literally."""

from __future__ import annotations

import math

import pytest
import torch

from crosscue.methods.capabilities import Stage
from crosscue.training.config import TrainingConfig
from crosscue.training.schedules import coop_rate, cosine_factor, scheduler
from crosscue.training.stages import Plan


def test_coop_rate_over_five_epochs() -> None:
    rates = [coop_rate(epoch, 5, 0.002) for epoch in range(5)]
    cosine = [0.5 * 0.002 * (1 + math.cos(math.pi * e / 5)) for e in range(4)]
    assert rates == pytest.approx([1e-5, *cosine])
    assert rates[1] == 0.002
    assert rates[-1] > 0


def test_cosine_warms_up_and_ends_at_zero() -> None:
    assert [cosine_factor(step, 10, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert cosine_factor(4, 10, 4) == 1.0
    assert cosine_factor(10, 10, 4) == pytest.approx(0)


def test_coop_changes_its_rate_between_epochs_alone() -> None:
    config, tensor = TrainingConfig(epochs=4, lr=0.1, schedule="coop"), torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([tensor], lr=0.1)
    schedule, rates = scheduler(optimiser, config, 3, Plan([Stage("training")], 4)), []
    for _ in range(12):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    by_epoch = [1e-5, *(0.05 * (1 + math.cos(math.pi * e / 4)) for e in range(3))]
    assert rates == pytest.approx([rate for rate in by_epoch for _ in range(3)])


@pytest.mark.parametrize("name", ["coop", "cosine", "constant"])
def test_groups_keep_their_ratio(name: str) -> None:
    config = TrainingConfig(epochs=3, lr=0.1, schedule=name)
    tensors = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.SGD([{"params": tensors[0], "lr": 0.1}, {"params": tensors[1], "lr": 0.01}], lr=0.1)
    schedule = scheduler(optimiser, config, 2, Plan([Stage("training")], config.epochs))
    for _ in range(6):
        first, second = schedule.get_last_lr()
        assert second == pytest.approx(0.1 * first)
        optimiser.step()
        schedule.step()
