"""An epoch with cached features of both towers, as a share of an epoch that runs the towers.

    python benchmarks/frozen_features.py ../shared/data/fdrd_caltech101

The starter at 160 px, 200 images with their captions, batch 32. The first epoch of each method runs from pixels and unknown
captions, the others from cached features. The losses of both are compared.
"""

from __future__ import annotations

from typing import Any

import torch
from harness import BATCH, arguments, cpu_seconds

from crosscue import load_backbone, read_pairs
from crosscue.backbones.frozen import pixel_store
from crosscue.data.batches import Batches
from crosscue.data.pairs import Pairs
from crosscue.methods.capabilities import UsesKnowledge
from crosscue.methods.contract import Method
from crosscue.methods.images import cached_images
from crosscue.methods.registry import build
from crosscue.training.feed import Feed
from crosscue.training.optimisers import select_trainable

IMAGES, SIZE = 200, 160
METHODS: dict[str, dict[str, Any]] = {
    "linear_probe": {},
    "clip_adapter": {"adapters": "both"},
    "coop": {"context_tokens": 4},
}


def epoch(method: Method[Any], feed: Feed, index: int) -> float:
    """Train for one epoch, and return its mean loss."""
    optimiser, total = torch.optim.SGD([parameter for _, parameter in select_trainable(method)], lr=0.002), 0.0
    for step in range(feed.length):
        optimiser.zero_grad()
        loss = method.losses(feed.batch(index, step))["contrastive_loss"]
        loss.backward()
        optimiser.step()
        total += loss.item()
    return total / feed.length


def main() -> None:
    given = arguments(__doc__, epochs=5)
    pairs = Pairs(read_pairs(given.source).split("train").items[:IMAGES], "benchmark")
    backbone = load_backbone("starter", image_size=SIZE)
    pixels = pixel_store(pairs.images, backbone)
    pixels[range(IMAGES)]  # decoded before anything is timed
    order = Batches(pairs, BATCH, 1)
    for name, options in METHODS.items():
        torch.manual_seed(0)
        method = build(name, backbone, options)
        start = {key: tensor.clone() for key, tensor in method.learned_state().items()}
        plain = cpu_seconds(lambda method=method: epoch(method, Feed(pairs, pixels, order), 0))
        method.load_learned_state(start)

        def caching(method: Method[Any] = method) -> tuple[Feed, float]:
            cached = Feed(pairs, cached_images(pairs, method), order)
            if isinstance(method, UsesKnowledge):
                method.study(pairs, pairs.captions)
            return cached, epoch(method, cached, 0)

        first = cpu_seconds(caching)
        feed, loss = first.result
        epochs = range(1, given.epochs + 1)
        later = cpu_seconds(lambda method=method, feed=feed, epochs=epochs: [epoch(method, feed, i) for i in epochs])
        share = later.seconds / given.epochs / plain.seconds
        print(
            f"{name:13} with the towers {plain}, first cached epoch {first}, "
            f"later epochs {100 * share:.2f} % of the first way's CPU time   loss {plain.result:.5f} and {loss:.5f}"
        )


if __name__ == "__main__":
    main()
