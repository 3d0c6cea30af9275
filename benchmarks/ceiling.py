"""The speed of this machine's matrix products and of a copy, in this process: what every other benchmark is a share of.

    python benchmarks/ceiling.py

A product has the shape of a linear map of CLIP ViT-B/32 with 32 images: (1,600, 768) x (768, 3,072), one thread. The best of
several rounds counts, by CPU time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from harness import cpu_seconds

ROWS, INNER, OUTER = 1_600, 768, 3_072
FLOPS = 2 * ROWS * INNER * OUTER
ROUNDS, REPEATS = 5, 8


@dataclass(frozen=True)
class Ceiling:
    """Thousand million operations in a CPU second."""

    fp32: float
    bf16: float
    int8: float
    copy: float
    """Thousand million bytes that are read in a CPU second, and as many written."""


def fastest(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call, in the best of several rounds."""

    def several() -> None:
        for _ in range(REPEATS):
            work()

    several()
    return min(cpu_seconds(several).seconds for _ in range(ROUNDS)) / REPEATS


@torch.no_grad()
def ceiling() -> Ceiling:
    """Return the ceilings of this process, on its number of threads."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator) for shape in ((ROWS, INNER), (OUTER, INNER)))
    small, other = ((100 * each).clamp(-127, 127).to(torch.int8) for each in (left, right))
    half, weight = left.bfloat16(), right.bfloat16()
    source = torch.ones(64 * 2**20, dtype=torch.uint8)
    target = torch.empty_like(source)
    return Ceiling(
        FLOPS / fastest(lambda: left @ right.T) / 1e9,
        FLOPS / fastest(lambda: half @ weight.T) / 1e9,
        FLOPS / fastest(lambda: torch._int_mm(small, other.T)) / 1e9,
        len(source) / fastest(lambda: target.copy_(source)) / 1e9,
    )


def main() -> None:
    found = ceiling()
    print(f"{torch.get_num_threads()} thread(s): fp32 {found.fp32:.0f}, bf16 {found.bf16:.0f} GFLOP/CPU-s")
    print(f"int8 {found.int8:.0f} thousand million operations/CPU-s, copy {found.copy:.1f} GB/CPU-s")


if __name__ == "__main__":
    main()
