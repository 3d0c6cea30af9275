"""The speed of this machine's matrix products and of a copy, in this process: what every other benchmark is a share of.

    python benchmarks/ceiling.py

A product has the shape of a linear map of CLIP ViT-B/32 with 32 images: (1,600, 768) x (768, 3,072), one thread. The best of
several rounds counts, by CPU time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from harness import Timing, Way, cpu_seconds
from torch.utils.flop_counter import FlopCounterMode

ROWS, INNER, OUTER = 1_600, 768, 3_072
FLOPS = 2 * ROWS * INNER * OUTER
ROUNDS, REPEATS = 3, 6


def fastest(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call, in the best of several rounds."""

    def several() -> None:
        for _ in range(REPEATS):
            work()

    several()
    return min(cpu_seconds(several).seconds for _ in range(ROUNDS)) / REPEATS


@torch.no_grad()
def ceiling(kind: str) -> float:
    """Return the thousand million operations, or with `copy` bytes, in a CPU second of this process.

    Args:
        kind: `fp32`, `bf16` or `int8` for a product; `copy` counts the bytes that are read, and as many are written.
    """
    if kind == "copy":
        source = torch.ones(64 * 2**20, dtype=torch.uint8)
        target = torch.empty_like(source)
        return len(source) / fastest(lambda: target.copy_(source)) / 1e9
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator) for shape in ((ROWS, INNER), (OUTER, INNER)))
    if kind == "int8":
        small, other = ((100 * each).clamp(-127, 127).to(torch.int8) for each in (left, right))
        return FLOPS / fastest(lambda: torch._int_mm(small, other.T)) / 1e9
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
    one, two = left.to(dtype), right.to(dtype)
    return FLOPS / fastest(lambda: one @ two.T) / 1e9


def print_shares(
    title: str, precision: str, ways: Mapping[str, Way], timings: Mapping[str, Timing], rounds: int
) -> None:
    """Print the FLOPs of a round of each way, counted in one more round, and the share of the ceiling that it reached."""
    most = ceiling(precision)
    for name, way in ways.items():
        with FlopCounterMode(display=False) as counter:
            way(rounds)
        speed = counter.get_total_flops() * rounds / timings[name].seconds / 1e9
        print(
            f"{title}  {name:50} {counter.get_total_flops() / 1e9:8.0f} GFLOP, {speed:6.0f} GFLOP/CPU-s, "
            f"{100 * speed / most:3.0f} % of the ceiling {most:.0f}"
        )


def main() -> None:
    print(f"{torch.get_num_threads()} thread(s), thousand million operations in a CPU second:")
    print(", ".join(f"{kind} {ceiling(kind):.0f}" for kind in ("fp32", "bf16", "int8")))
    print(f"copy {ceiling('copy'):.1f} GB in a CPU second")


if __name__ == "__main__":
    main()
