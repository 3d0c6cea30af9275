"""The harness of the benchmarks: arguments, backbones, ways that alternate, CPU time and tables.

CPU time is compared, so that other programs on the machine do not disturb it. Wall time stands beside it. A ratio of wall
times is printed on an idle machine only. The first round is warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from clip_shapes import write_checkpoint
from torch import Tensor, nn

from crosscue import load_backbone
from crosscue.backbones.protocol import Backbone
from crosscue.memory import most_resident_bytes
from crosscue.training.attention import attention_of_training

BATCH = 32
Way = Callable[[int], Any]
"""Round -> result. A way is one of the sides that a benchmark compares."""


@dataclass
class Timing:
    """Seconds of all rounds but the warm-up, and the result of the last round."""

    seconds: float = 0.0
    """CPU time of all threads of this process."""
    wall: float = 0.0
    result: Any = None

    def __str__(self) -> str:
        return f"{self.seconds:.2f} CPU-s ({self.wall:.2f} s wall)"


def arguments(description: str, **defaults: Any) -> argparse.Namespace:
    """Return `source`, a source of pairs, and an option for each of the defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="source of pairs; its captions set the lengths that speed depends on")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser.parse_args()


def backbones(*precisions: str) -> Iterator[tuple[Path, Backbone]]:
    """Yield the folder of a CLIP ViT-B/32 checkpoint with random weights, and its backbone in each precision; "" is none."""
    precisions = tuple(filter(None, precisions))
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_checkpoint(Path(scratch))
        for precision in precisions or ("fp32", "bf16"):
            yield folder, load_backbone(str(folder), precision=precision, device="cpu")


def random_pixels(count: int = BATCH) -> Tensor:
    """Return (count, 3, 224, 224) random uint8 pixels, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 224, 224), generator=generator, dtype=torch.uint8)


def batches(captions: Sequence[str], count: int) -> list[list[str]]:
    """Return batches of captions in random order, always the same."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(captions), generator=generator)[: BATCH * count].view(-1, BATCH).tolist()
    return [[captions[row] for row in rows] for rows in order]


def cpu_seconds(work: Callable[[], Any]) -> Timing:
    """Return the CPU and wall seconds of a piece of work, and its result."""
    start, began = time.process_time(), time.perf_counter()
    result = work()
    return Timing(time.process_time() - start, time.perf_counter() - began, result)


def alternate(ways: Mapping[str, Way], rounds: int, warm_up: int = 1) -> dict[str, Timing]:
    """Run the ways in turn in this process, round after round."""
    timings = {name: Timing() for name in ways}
    for index in range(warm_up + rounds):
        for name, way in ways.items():
            taken = cpu_seconds(lambda way=way, index=index: way(index))
            timings[name].result = taken.result
            if index >= warm_up:
                timings[name].seconds += taken.seconds
                timings[name].wall += taken.wall
    return timings


def training_step(
    method: nn.Module, loss: Callable[[int], Tensor], watched: Sequence[nn.Parameter] = (), *, plain: bool = False
) -> Way:
    """Return the way of a step, forward and backward; its result is the loss and the gradient of the watched parameters.

    Its attention is that of our training, or with `plain` that of torch.
    """

    def way(index: int) -> tuple[float, Tensor]:
        method.zero_grad()
        with nullcontext() if plain else attention_of_training(method.backbone):
            value = loss(index)
            value.backward()
        return value.item(), torch.cat([torch.zeros(0), *(parameter.grad.flatten() for parameter in watched)])

    return way


def busy() -> str:
    """Return the reason that wall times of this machine cannot be compared; empty on an idle machine."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"load {load:.1f} on {cores} cores" if load > cores else ""


def print_table(title: str, timings: Mapping[str, Timing], work: int, unit: str) -> None:
    """Print the work in a CPU second, and the times relative to the first row; no ratio of wall times on a busy machine."""
    first, reason = next(iter(timings.values())), busy()
    for name, timing in timings.items():
        wall = "" if reason else f", {timing.wall / first.wall:5.2f}x the wall time"
        print(
            f"{title}  {name:50} {work / timing.seconds:10.1f} {unit}/CPU-s {timing.seconds / first.seconds:6.2f}x the CPU time; "
            f"{timing.wall:.2f} s wall{wall}"
        )
    if reason:
        print(f"{title}  no ratio of wall times: {reason}")


def print_agreement(title: str, one: Timing, other: Timing) -> None:
    """Print the losses of two steps and the cosine of their gradients."""
    (loss, gradient), (other_loss, other_gradient) = one.result, other.result
    cosine = torch.cosine_similarity(gradient, other_gradient, dim=0)
    print(f"{title}  loss {loss:.5f} and {other_loss:.5f}, cosine of the gradients {cosine:.5f}")


def peak_megabytes() -> float:
    """Return the largest memory of this process so far."""
    return most_resident_bytes() / 2**20


def in_own_process(way: str) -> dict[str, Any]:
    """Run this benchmark again with one argument; return the JSON that it prints. So its peak memory is its own."""
    command = [sys.executable, sys.argv[0], way]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
