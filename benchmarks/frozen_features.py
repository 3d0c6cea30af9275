"""What an epoch costs once both towers' features are cached, as a share of an epoch that runs the towers.

    python benchmarks/frozen_features.py ../shared/data/fdrd_caltech101

The starter at 160 px, 200 pictures with their captions, batch 32. Each method's epoch is timed with pixels and unknown captions, then
with cached features; the losses of both are compared.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

from crosscue import load_backbone, read_pairs
from crosscue.api import cached_images
from crosscue.backbones.frozen import pixel_store
from crosscue.data.batches import Batches
from crosscue.data.pairs import Pairs
from crosscue.methods.contract import Method
from crosscue.methods.registry import build
from crosscue.training.feed import Feed
from crosscue.training.optimisers import select_trainable

PICTURES, BATCH, SIZE, EPOCHS = 200, 32, 160, 5
METHODS: dict[str, dict[str, Any]] = {
    "linear_probe": {},
    "clip_adapter": {"adapters": "both"},
    "coop": {"context_tokens": 4},
}


def epoch(method: Method[Any], feed: Feed, number: int) -> tuple[float, float]:
    """Returns the seconds of one epoch and its mean loss."""
    optimiser = torch.optim.SGD([parameter for _, parameter in select_trainable(method)], lr=0.002)
    start, total = time.perf_counter(), 0.0
    for step in range(feed.length):
        optimiser.zero_grad()
        loss = method.losses(feed.batch(number, step))["contrastive_loss"]
        loss.backward()
        optimiser.step()
        total += loss.item()
    return time.perf_counter() - start, total / feed.length


def main(source: str) -> None:
    pairs = Pairs(read_pairs(source).split("train").items[:PICTURES], "benchmark")
    backbone = load_backbone("starter", image_size=SIZE)
    pixels = pixel_store(pairs.images, backbone)
    pixels[range(PICTURES)]  # decoded before anything is timed
    for name, options in METHODS.items():
        torch.manual_seed(0)
        method = build(name, backbone, options)
        start = {key: tensor.clone() for key, tensor in method.learned_state().items()}
        order = Batches(pairs, BATCH, 1)
        plain, plain_loss = epoch(method, Feed(pairs, pixels, order), 0)
        method.load_learned_state(start)
        began = time.perf_counter()
        cached = Feed(pairs, cached_images(pairs, method), order)
        method.remember(pairs.captions)
        _, first_loss = epoch(method, cached, 0)
        first = time.perf_counter() - began
        later = sum(epoch(method, cached, number)[0] for number in range(1, EPOCHS + 1)) / EPOCHS
        print(
            f"{name:13} epoch with the towers {plain:.2f} s, first cached epoch {first:.2f} s (caching included), later epochs "
            f"{later:.4f} s: {100 * later / plain:.2f} %   loss {plain_loss:.5f} and {first_loss:.5f}"
        )


if __name__ == "__main__":
    main(sys.argv[1])
