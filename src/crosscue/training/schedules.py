"""Learning rates over a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from collections.abc import Callable

    from crosscue.training.config import TrainingConfig
    from crosscue.training.stages import Plan

FIRST_EPOCH_RATE = 1e-5


def coop_rate(epoch: int, epochs: int, peak: float) -> float:
    """Returns the rate of an epoch in CoOp's schedule: 1e-5 first, then a cosine that Dassl re-counts from 0.

    ``lr(e) = peak/2 * (1 + cos(pi * (e - 1) / epochs))`` for e >= 1, so the rate never reaches 0.
    """
    if epoch == 0:
        return FIRST_EPOCH_RATE
    return 0.5 * peak * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def cosine_factor(step: int, total: int, warmup: int) -> float:
    """Returns the multiplier of the peak rate: linear over `warmup` steps, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def scheduler(optimizer: Optimizer, config: TrainingConfig, steps_per_epoch: int, plan: Plan) -> LambdaLR:
    """Returns a scheduler to be stepped once per optimiser step; it starts anew in every stage of the plan.

    Each stage has its share of the run's warm-up steps, so that the warm-up of a short stage lies inside it.
    """

    def factor(step: int) -> float:
        span = plan.span(step // steps_per_epoch)
        own = _factor(config, span.epochs, steps_per_epoch)
        return span.stage.learning_rate_scale * own(step - span.start * steps_per_epoch)

    return LambdaLR(optimizer, factor)


def _factor(config: TrainingConfig, epochs: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Returns the multiplier of the peak rate as a function of the step, over `epochs` epochs."""
    total = epochs * steps_per_epoch
    warmup = round(config.warmup_steps * epochs / config.epochs)
    factors: dict[str, Callable[[int], float]] = {
        "coop": lambda step: coop_rate(min(step // steps_per_epoch, epochs), epochs, config.lr) / config.lr,
        "cosine": lambda step: cosine_factor(min(step, total), total, warmup),
        "constant": lambda step: 1.0,
    }
    return factors[config.schedule]
