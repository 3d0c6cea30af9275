"""Ranks and recall of 5,000 images x 25,000 captions, against sorting the full matrix.

    python benchmarks/ranks.py

Each way runs in a process of its own, so that its peak memory is its own. Random unit vectors, D = 512, 5 captions each.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

IMAGES, CAPTIONS, WIDTH = 5_000, 5, 512


def main() -> None:
    results = {
        way: json.loads(
            subprocess.run([sys.executable, __file__, way], capture_output=True, text=True, check=True).stdout
        )
        for way in ("crosscue", "argsort")
    }
    for way, result in results.items():
        print(
            f"{way:>9}: {result['seconds']:6.2f} s, {result['megabytes']:6.0f} MB above the features, R@1 {result['r1']}"
        )
    print(f"ratio: {results['argsort']['seconds'] / results['crosscue']['seconds']:.1f}x faster")


def measure(way: str) -> None:
    import torch
    from torch.nn.functional import normalize

    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.randn(IMAGES, WIDTH, generator=generator), dim=-1)
    texts = normalize(torch.randn(IMAGES * CAPTIONS, WIDTH, generator=generator), dim=-1)
    owner = torch.arange(IMAGES).repeat_interleave(CAPTIONS)
    _ = images[:64] @ texts[:64].T
    from crosscue.evaluation.ranks import ranks
    from crosscue.evaluation.recall import recall

    before = peak()
    start = time.perf_counter()
    if way == "crosscue":
        r1 = [recall(direction).r1 for direction in ranks(images, texts, owner)]
    else:
        scores = images @ texts.T
        order = scores.argsort(dim=1, descending=True)
        first = (owner[order] == torch.arange(IMAGES)[:, None]).int().argmax(1)
        back = scores.T.argsort(dim=1, descending=True)
        rank = (back == owner[:, None]).int().argmax(1)
        r1 = [100 * float((first == 0).float().mean()), 100 * float((rank == 0).float().mean())]
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "megabytes": peak() - before, "r1": [round(value, 3) for value in r1]}))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
