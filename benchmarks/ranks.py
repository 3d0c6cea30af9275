"""Ranks and recall of 5,000 images x 25,000 captions, against sorting the full matrix.

    python benchmarks/ranks.py

Each way runs in a process of its own, so that its peak memory is its own. Random unit vectors, D = 512, 5 captions each.
"""

from __future__ import annotations

import json
import sys

import torch
from harness import cpu_seconds, in_own_process, peak_megabytes
from torch.nn.functional import normalize

from crosscue.evaluation.ranks import ranks
from crosscue.evaluation.recall import recall

IMAGES, CAPTIONS, WIDTH = 5_000, 5, 512


def main() -> None:
    found = {way: in_own_process(way) for way in ("crosscue", "argsort")}
    for way, one in found.items():
        ratio = one["seconds"] / found["crosscue"]["seconds"]
        print(
            f"{way:>9}: {one['seconds']:6.2f} CPU-s ({one['wall']:.2f} s wall), {one['megabytes']:6.0f} MB above the features, "
            f"R@1 {one['r1']}, {ratio:.1f}x the CPU time"
        )


def measure(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.randn(IMAGES, WIDTH, generator=generator), dim=-1)
    texts = normalize(torch.randn(IMAGES * CAPTIONS, WIDTH, generator=generator), dim=-1)
    owner = torch.arange(IMAGES).repeat_interleave(CAPTIONS)
    _ = images[:64] @ texts[:64].T  # warm-up

    def ours() -> list[float]:
        return [recall(direction).r1 for direction in ranks(images, texts, owner)]

    def argsort() -> list[float]:
        scores = images @ texts.T
        order = scores.argsort(dim=1, descending=True)
        first = (owner[order] == torch.arange(IMAGES)[:, None]).int().argmax(1)
        back = scores.T.argsort(dim=1, descending=True)
        rank = (back == owner[:, None]).int().argmax(1)
        return [100 * float((places == 0).float().mean()) for places in (first, rank)]

    before = peak_megabytes()
    taken = cpu_seconds(ours if way == "crosscue" else argsort)
    r1 = [round(value, 3) for value in taken.result]
    print(json.dumps({"seconds": taken.seconds, "wall": taken.wall, "megabytes": peak_megabytes() - before, "r1": r1}))


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
