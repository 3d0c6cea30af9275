"""Training steps of few pairs: their FLOPs, their seconds, and the bytes that they keep for the backward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from crosscue.backbones.rows import Rows, divided
from crosscue.training.attention import attention_of_training
from crosscue.training.memory import free_bytes
from crosscue.training.optimisers import optimizer

if TYPE_CHECKING:
    from crosscue.methods.contract import Batch, Method
    from crosscue.training.config import TrainingConfig

FIRST, SECONDS = 4, 2.0
"""Pairs of the first step, and the seconds after which no larger one is begun."""
BESIDE = 1.3
"""Measured memory of a step, as a multiple of what it keeps for the backward pass."""


@dataclass(frozen=True)
class Step:
    """An optimiser step of one batch."""

    rows: int
    flops: float
    seconds: float
    """Wall seconds."""
    cpu: float
    """CPU seconds of all threads."""
    kept: float
    """Bytes for the backward pass, without the weights; on a GPU the most bytes beside them, measured."""

    @property
    def rate(self) -> float:
        """FLOPs in a second."""
        return self.flops / self.seconds


def steps(
    method: Method[Any], batch_of: Callable[[int], Batch], training: TrainingConfig, seconds: float = SECONDS
) -> list[Step]:
    """Returns steps with ever more pairs, up to the batch of the run or until time or memory is over. The method is changed.

    Args:
        method: a method in training mode, with its knowledge.
        batch_of: number of pairs -> a batch of so many.
        training: options of the run.
        seconds: time after which no larger step is begun.
    """
    stepper, found, rows = optimizer(method, training), list[Step](), min(FIRST, training.batch_size)
    started = time.monotonic()
    while True:
        found.append(step(method, batch_of(rows), stepper, training.chunk))
        spent, room = time.monotonic() - started, free_bytes(method.backbone.device) / 2
        late = spent + 2 * found[-1].seconds > seconds or 2 * BESIDE * found[-1].kept > room
        if late or rows == training.batch_size:
            return found
        rows = min(2 * rows, training.batch_size)


def step(method: Method[Any], batch: Batch, stepper: torch.optim.Optimizer, chunk: int | None = None) -> Step:
    """Returns one step: once to count, which warms up too, and once to measure."""
    rows = len(batch)
    at_once = chunk if chunk is None or chunk < rows else max(rows // 2, 1)

    def work() -> None:
        stepper.zero_grad()
        with divided(method, Rows(at_once=at_once)), attention_of_training(method.backbone):
            losses: dict[str, Tensor] = method(batch)
            total = sum((value for key, value in losses.items() if key.endswith("_loss")), start=torch.zeros(()))
            if total.requires_grad:
                total.backward()
        stepper.step()

    with FlopCounterMode(display=False) as counter, kept_bytes(method) as kept:
        work()
    start, began = time.process_time(), time.perf_counter()
    work()
    synchronised(method.backbone.device)
    taken = time.perf_counter() - began
    return Step(rows, float(counter.get_total_flops()), taken, time.process_time() - start, kept())


def enlarged(found: list[Step], rows: int) -> Step:
    """Returns the step of a larger batch: FLOPs and bytes on the line through the last two steps, at the rate of the last.

    The first rows of a batch cost more than the others, because texts with a common beginning share it.
    """
    last = found[-1]
    if rows == last.rows:
        return last
    before = found[-2] if len(found) > 1 else replace(last, rows=0, flops=0.0, kept=0.0)
    share = (rows - last.rows) / (last.rows - before.rows)
    flops = last.flops + share * (last.flops - before.flops)
    kept = last.kept + share * (last.kept - before.kept)
    times = flops / last.flops
    return Step(rows, flops, times * last.seconds, times * last.cpu, kept)


@contextmanager
def kept_bytes(method: Method[Any]) -> Iterator[Callable[[], float]]:
    """Yields a function that returns the bytes that the graph kept for the backward pass; those of weights are left out."""
    device = method.backbone.device
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: float(torch.cuda.max_memory_allocated(device) - before)
        return
    weights = {each.untyped_storage().data_ptr() for each in (*method.parameters(), *method.buffers())}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            storages[place] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: float(sum(storages.values()))


def synchronised(device: torch.device) -> None:
    """Waits for the device."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
