"""Number of marked texts that show a gain, and texts to mark next: the tables of docs/tutorials/emoji_loop.md.

    python scripts/marks.py --features emoji.npz

The features of 1,500 emoji and their names are encoded once by the starter at 160 pixels, and kept in the file. A linear
probe is trained on the marks of each draw. A text can be marked if its image is among the first 60.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from crosscue.api import as_run
from crosscue.demo.emoji import emoji_pairs
from crosscue.intervals import difference
from crosscue.search.uncertainty import possible_images

K, SHOWN, SCALE = 10, 60, 100.0
STEPS, RATE, DECAY, BATCH = 60, 3e-4, 0.01, 128
Encode = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, default=Path("emoji.npz"), help="file that keeps the features")
    parser.add_argument("--draws", type=int, default=24, help="draws of the second table; the first has ten")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.features.exists():
        encode(given.features)
    kept = np.load(given.features)
    emoji = Emoji(torch.tensor(kept["images"]), torch.tensor(kept["texts"]))
    print("marked texts | held out | gain, mean and range | draws with p < .05")
    for count in (40, 80, 150, 300, 500):
        emoji.enough(count, min(given.draws, 10))
    print("texts | gain | minus random | draws won")
    emoji.next(given.draws)


def encode(target: Path) -> None:
    """Encode the images and names of all emoji of the demo."""
    pairs, run = emoji_pairs(), as_run("zero_shot", image_size=160)
    names = [pair.captions[0].split(", ")[0].replace("An emoji of", "A drawing of") + "." for pair in pairs]
    images = run.encode_image([pair.image.path for pair in pairs]).float().numpy()
    np.savez(target, images=images, texts=run.encode_text(names).float().numpy())


class Emoji:
    """Features of N images and of their N names, with the order of the images for each name."""

    def __init__(self, images: torch.Tensor, texts: torch.Tensor) -> None:
        self.images, self.texts = images, texts
        self.order = order(images, texts)
        self.ranks = (self.order == np.arange(len(texts))[:, None]).argmax(1)
        scores = (texts @ images.T).numpy()
        self.possible = np.array([possible_images(-np.sort(-row)[:100]) for row in scores])

    def enough(self, count: int, draws: int) -> None:
        """Print the gain on the held-out part of a number of marked texts."""
        found = []
        for seed in range(draws):
            marked = [
                one for one in np.random.default_rng(seed).permutation(len(self.texts)) if self.ranks[one] < SHOWN
            ][:count]
            held = round(max(0.3 * count, min(0.5 * count, 20)))
            validated = int(0.15 * count) if count >= 200 else 0
            before, after = self.recalls(np.array(marked[held + validated :]), np.array(marked[:held]), seed)
            found.append(difference(before, after, np.arange(held)))
        means = [one.mean for one in found]
        up = sum(one.p < 0.05 and one.mean > 0 for one in found)
        print(f"{count} | {held} | {np.mean(means):+.1f} ({min(means):+.1f} to {max(means):+.1f}) | {up} of {draws}")

    def next(self, draws: int, marks: int = 60, tried: int = 95, held: int = 700) -> None:
        """Print the gain of several orders of the texts, each until there are `marks` right marks, or after `tried` texts."""
        gains: dict[str, list[float]] = {}
        for seed in range(draws):
            shuffled = np.random.default_rng(5000 + seed).permutation(len(self.texts))
            test, pool = shuffled[:held], shuffled[held:]
            uncertain = pool[np.argsort(-self.possible[pool], kind="stable")]
            orders = {
                "at random": pool,
                "most uncertain": uncertain,
                "clusters of texts": self.spread(pool, self.texts, marks, seed),
            }
            orders["clusters of images"] = self.spread(pool, self.images, marks, seed)
            chosen = {name: [one for one in each if self.ranks[one] < SHOWN][:marks] for name, each in orders.items()}
            for name in ("at random", "most uncertain"):
                chosen[f"{name}, {tried} tried"] = [one for one in orders[name][:tried] if self.ranks[one] < SHOWN]
            for name, train in chosen.items():
                before, after = self.recalls(np.array(train), test, seed)
                gains.setdefault(name, []).append(100 * float((after - before).mean()))
        for name, each in gains.items():
            change = np.array(each) - np.array(gains["at random"])
            found = difference(np.zeros(draws), change / 100, np.arange(draws))
            print(
                f"{name} | {np.mean(each):.1f} | {found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f}) | {(change > 0).sum()} of {draws}"
            )

    def spread(self, pool: np.ndarray, features: torch.Tensor, marks: int, seed: int) -> list[int]:
        """Return the middles of clusters, one for each expected mark, then the rest of the pool."""
        points, count = features[pool].numpy(), int(marks / 0.55)
        centres = points[np.random.default_rng(seed).choice(len(points), count, replace=False)]
        for _ in range(12):
            member = (points @ centres.T).argmax(1)
            sums = np.stack(
                [points[member == one].sum(0) if (member == one).any() else centres[one] for one in range(count)]
            )
            centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        close = points @ centres.T
        middles = dict.fromkeys(
            pool[np.where(close.argmax(1)[:, None] == np.arange(count), close, -2).argmax(0)].tolist()
        )
        return [*middles, *(one for one in pool.tolist() if one not in middles)]

    def recalls(self, train: np.ndarray, test: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (Q,) hits among the first ten for the names `test`, before and after training on the pairs `train`."""
        image, text = probe(self.images[train], self.texts[train], seed)
        after = order(image(self.images), text(self.texts[test]))[:, :K]
        return (self.ranks[test] < K).astype(float), (after == test[:, None]).any(1).astype(float)


def order(images: torch.Tensor, texts: torch.Tensor) -> np.ndarray:
    """(N, D) and (T, D) unit vectors -> (T, N) indices of the images, nearest first."""
    return (texts @ images.T).argsort(1, descending=True).numpy()


def probe(images: torch.Tensor, texts: torch.Tensor, seed: int) -> Sequence[Encode]:
    """Return both linear maps, trained on (B, D) pairs with InfoNCE."""
    generator = torch.Generator().manual_seed(seed)
    changes = [torch.zeros(images.shape[1], images.shape[1], requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.AdamW(changes, lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS)) * min(1, (step + 1) / 10)
        rows = torch.randperm(len(images), generator=generator)[:BATCH]
        one, other = (
            normalize(each[rows] + each[rows] @ change.T, dim=1)
            for each, change in zip((images, texts), changes, strict=True)
        )
        logits, target = SCALE * one @ other.T, torch.arange(len(rows))
        loss = cross_entropy(logits, target) + cross_entropy(logits.T, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    first, second = (change.detach() for change in changes)
    return (lambda each: normalize(each + each @ first.T, dim=1)), (
        lambda each: normalize(each + each @ second.T, dim=1)
    )


if __name__ == "__main__":
    main()
