"""The training loop of every method. It depends on the contract of a method and on nothing else of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from crosscue.backbones.rows import divided, sum_gradients
from crosscue.errors import TrainingError
from crosscue.interruption import interruption
from crosscue.progress import progress
from crosscue.training.attention import attention_of_training
from crosscue.training.checkpoints import Checkpoints, Position
from crosscue.training.collapse import CollapseDetector
from crosscue.training.journal import JOURNAL, Journal, require_trackers, tracked
from crosscue.training.memory import memory_of
from crosscue.training.optimisers import optimizer
from crosscue.training.processes import ALONE, Processes
from crosscue.training.schedules import scheduler
from crosscue.training.seen import Seen
from crosscue.training.stages import Plan, stages_of

if TYPE_CHECKING:
    from crosscue.methods.contract import Batch, Method
    from crosscue.training.config import TrainingConfig
    from crosscue.training.feed import Feed

Validate = Callable[[], dict[str, Any]]
"""Evaluates the method on the validation pairs; the result contains `rsum`, and is kept in the journal."""


@dataclass(frozen=True)
class Outcome:
    """The end of a call of `fit`."""

    ended: Literal["finished", "stopped early", "interrupted"]
    steps: int
    epochs: int
    best_rsum: float | None
    best_epoch: int | None
    """Epochs done at the best validation; 0 is the untrained method."""
    seconds: float
    untouched_rsum: float | None = None
    """Rsum of the untouched backbone on the validation pairs; None without any."""


def fit(
    method: Method[Any],
    feed: Feed,
    config: TrainingConfig,
    folder: Path,
    validate: Validate | None = None,
    *,
    resume: bool = False,
    until: int | None = None,
    processes: Processes = ALONE,
) -> Outcome:
    """Trains the learned tensors of `method` in place; afterwards they are the best on validation, or the last.

    The untrained tensors are candidate 0 of the best: where no epoch is better, they come back.

    Args:
        method: its trainable parameters are updated, nothing else.
        feed: the batches, a pure function of epoch and step.
        config: rates, lengths, seeds.
        folder: run folder; metrics.jsonl and checkpoints/ are written there.
        validate: called before the first step, every `validate_every` epochs and after the last one.
        resume: continue from `checkpoints/last` where there is one, bit-exactly.
        until: number of epochs after which training ends; the schedule keeps the length of `config`.
        processes: the processes that train together. Everything that encodes is called on all of them at the same time.

    Raises:
        TrainingError: nothing to train, a loss or gradient that is not finite, or collapsed embeddings. The last good
            checkpoint is kept.
        ProcessError: another process ended.
    """
    with divided(method, processes.rows(config.chunk)):
        return _fit(method, feed, config, folder, validate, resume, until, processes)


def _fit(
    method: Method[Any],
    feed: Feed,
    config: TrainingConfig,
    folder: Path,
    validate: Validate | None,
    resume: bool,
    until: int | None,
    processes: Processes,
) -> Outcome:
    require_trackers(config.trackers)
    steps_per_epoch = math.ceil(feed.length / config.gradient_accumulation)
    plan = Plan(stages_of(method), config.epochs)
    stepper = optimizer(method, config)
    learned = [parameter for group in stepper.param_groups for parameter in group["params"]]
    schedule = scheduler(stepper, config, steps_per_epoch, plan)
    checkpoints = Checkpoints(folder / "checkpoints", method, stepper, schedule, writes=processes.main)
    position = (processes.first(checkpoints.load) if resume else None) or Position()
    processes.same("checkpoint", {"step": position.step}, "Give --out a folder that all of them share.")
    journal = Journal(folder / JOURNAL, position.step or None, writes=processes.main)
    collapse = CollapseDetector(method, feed.batch(0, 0))
    plan.enter(method, position.epoch)

    def optimiser_step() -> dict[str, float]:
        first = position.step_in_epoch * config.gradient_accumulation
        group = range(first, min(first + config.gradient_accumulation, feed.length))
        report: dict[str, float] = {}
        stepper.zero_grad()
        for index in group:
            losses = add_gradients(method, feed.batch(position.epoch, index), config, position.step + 1, len(group))
            for key, value in losses.items():
                report[key] = report.get(key, 0.0) + value.item() / len(group)
        if processes.world > 1:
            sum_gradients(method)
        norm = torch.nn.utils.clip_grad_norm_(learned, config.clip_grad or math.inf)
        _require_finite(norm, "gradient", position.step + 1)
        report |= {"gradient_norm": float(norm), "lr": float(schedule.get_last_lr()[0])}
        stepper.step()
        schedule.step()
        return report

    def validation() -> bool:
        """Evaluates, keeps the best, and returns True if early stopping ends the run."""
        values: dict[str, Any] = collapse.check(method, position.step)
        if validate is not None:
            method.eval()
            values |= validate()
            method.train()
            seen.validated(values["rsum"], position.epoch)
            if position.best is None or values["rsum"] > position.best:
                position.best, position.best_epoch, position.stale = values["rsum"], position.epoch, 0
                checkpoints.save_best()
            else:
                position.stale += 1
            values["best_epoch"] = position.best_epoch or 0
        journal.write("validation", position.step, position.epoch, values)
        log(values, position.step)
        return config.patience is not None and position.stale >= config.patience and plan.last(position.epoch - 1)

    seen = Seen(position.best)
    if validate is not None and position.step == 0:  # the untrained method, beside which every later value is read
        method.eval()
        untrained = validate()
        seen.validated(untrained["rsum"], 0)
        position.best, position.best_epoch = untrained["rsum"], 0
        checkpoints.save_best()
        journal.write("validation", 0, 0, untrained | {"best_epoch": 0})
    method.train()
    started = time.monotonic() - position.seconds
    epochs = config.epochs if until is None else until
    position.finished |= epochs == 0
    with (
        tracked(config.trackers if processes.main else (), folder) as log,
        interruption() as stop,
        processes.named(folder, position),
        progress(f"training {method.name}", epochs * steps_per_epoch, "steps", seen.text) as advance,
    ):
        advance(position.step)
        stopping = processes.agree(stop.requested)
        while not position.finished and not stopping:
            report = optimiser_step()
            seen.stepped(report["loss"])
            position.step += 1
            position.step_in_epoch += 1
            advance(1)
            journal.write("train", position.step, position.epoch, report)
            log(report, position.step)
            epoch_done = position.step_in_epoch == steps_per_epoch
            validated = False
            if epoch_done:
                position.epoch, position.step_in_epoch = position.epoch + 1, 0
                last = position.epoch == epochs
                validated = last or position.epoch % config.validate_every == 0
                early = validation() if validated else False
                position.finished = last or early
                if not position.finished:
                    plan.enter(method, position.epoch)
                    position.stale = 0 if plan.opens(position.epoch) else position.stale
            position.seconds = time.monotonic() - started
            stopping = processes.agree(stop.requested)
            if validated or position.step % config.checkpoint_every == 0 or stopping:
                processes.check_equal(method.learned_state())
                checkpoints.save(position)
    processes.wait()  # for the files of process 0
    method.eval()
    if position.finished and position.best is not None:
        checkpoints.load_best()
    early = position.epoch < epochs
    return Outcome(
        ended="interrupted" if not position.finished else "stopped early" if early else "finished",
        steps=position.step,
        epochs=position.epoch,
        best_rsum=position.best,
        best_epoch=position.best_epoch,
        seconds=position.seconds,
    )


def add_gradients(
    method: Method[Any], batch: Batch, config: TrainingConfig, step: int, parts: int = 1
) -> dict[str, Tensor]:
    """Adds the gradients of a batch, one of `parts` of a step, and returns what its losses were, with their sum `loss`.

    Raises:
        TrainingError: memory ended, or the loss of the step is not finite.
    """
    # chunks of rows are computed again in the backward pass, with the attention of the forward pass
    with memory_of(method, config), attention_of_training(method.backbone):
        losses: dict[str, Tensor] = method(batch)
        total = sum((value for key, value in losses.items() if key.endswith("_loss")), start=torch.zeros(()))
        _require_finite(total, "loss", step)
        if total.requires_grad:  # a stage may have nothing to learn from a batch
            (total / parts).backward()
    return {**losses, "loss": total}


def _require_finite(value: Tensor, what: str, step: int) -> None:
    if not torch.isfinite(value):
        raise TrainingError(
            f"step {step}: the {what} is {float(value)}. Training stopped before it could spoil the learned tensors; the "
            "last good checkpoint is kept. Lower training.lr, set training.clip_grad, or use precision fp32."
        )
