"""Measure DCAR's token weights and its negatives behind frozen towers, where a training step is two linear maps.

    python scripts/frozen_dcar.py --domain.data DATA/fdrd_caltech101 --out docs/results
    python scripts/frozen_dcar.py --domain.data runs/cars.jsonl --domain.backbone runs/starter-without-cars --domain.image_size null \
      --domain.unverified true --domain.shots 16 --rates '[.0001, .0003, .001, .003]' --steps 600 --name dcar_frozen_cars --out docs/results

All features are computed once, with the functions of method `dcar` (`dp=false`, `tune_projection=true`, `image_prompts=false`).
Then a linear change behind each tower learns from weighted captions, or from edited ones. The rate is chosen
from a few without weights, by Rsum on a quarter of the training images. Then every row learns from all of them, with several seeds.
Texts of the test split are never weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from frozen_rows import ALPHA, CLAIMS, Domain, Features, Row, read_features, rows_of
from frozen_tables import pages, untrained_section
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscue.evaluation.minimal_pairs import Contests
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import hits, recall, rsum
from crosscue.losses.category import category_aware
from crosscue.losses.contrastive import contrastive, same_meaning
from crosscue.methods.dcar.category import CategoryHead
from crosscue.methods.dual_prompt import zero_linear
from crosscue.retrieval.normalising import BETA, normalised
from crosscue.retrieval.scores import Cosines
from crosscue.storage import write_json, write_text
from crosscue.training.schedules import cosine_factor

RATES = (0.00001, 0.00003, 0.0001)
KINDS = ("category", "attribute")
LAMBDA1, LAMBDA2 = 0.8, 0.2
BATCH, WARMUP, HELD_OUT = 32, 10, 4


class Changes(nn.Module):
    """Linear changes behind both towers, and F_CAA."""

    def __init__(self, features: Features, head: bool) -> None:
        super().__init__()
        width = features.train_images.pooled.shape[1]
        self.image_change = zero_linear(features.train_images.hidden.shape[1], width)
        self.text_change = zero_linear(features.plain.hidden.shape[1], width)
        self.category = CategoryHead(width, 512, "residual_zero") if head else None

    def images(self, pooled: Tensor, hidden: Tensor) -> Tensor:
        """Returns (B, D) unit vectors."""
        return normalize(pooled + self.image_change(hidden), dim=-1)

    def texts(self, pooled: Tensor, hidden: Tensor) -> Tensor:
        """Returns (B, D) unit vectors."""
        return normalize(pooled + self.text_change(hidden), dim=-1)

    def adapted(self, texts: Tensor) -> Tensor:
        """Returns F_CAA of (B, D) unit vectors, or the same ones without a head."""
        return texts if self.category is None else normalize(self.category(texts), dim=-1)


@dataclass
class Found:
    """The results of a row: one entry a seed."""

    hits: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"i2t": [], "t2i": []})
    recalls: list[dict[str, float]] = field(default_factory=list)
    edits: list[dict[str, float]] = field(default_factory=list)


def trained(features: Features, row: Row, places: Tensor, rate: float, steps: int, seed: int) -> Changes:
    """Returns the changes learned from the training pairs at `places`."""
    torch.manual_seed(seed)
    changes = Changes(features, row.head != "none")
    slow = list(changes.category.parameters()) if changes.category is not None else []
    fast = [*changes.image_change.parameters(), *changes.text_change.parameters()]
    groups: list[dict[str, Any]] = [{"params": fast, "lr": rate}]
    groups += [{"params": slow, "lr": rate * row.head_rate}] if slow else []
    stepper = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: cosine_factor(step, steps, WARMUP))
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = places[torch.randperm(len(places))]
        chosen, order = order[:BATCH], order[BATCH:]
        loss = losses(features, row, changes, chosen)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        schedule.step()
    return changes.eval()


def losses(features: Features, row: Row, changes: Changes, chosen: Tensor) -> Tensor:
    """Returns lambda1 L_con + lambda2 L_cate of the pairs `chosen` (DCAR eq. 19)."""
    images = changes.images(*features.train_images.of(chosen))
    plain = changes.texts(*features.plain.of(chosen))
    draws = features.weighted[row.weights]
    texts = changes.texts(*draws[int(torch.randint(len(draws), ()))].of(chosen))
    if row.dropout:
        texts = torch.where(torch.rand(len(chosen), 1) < row.dropout, plain, texts)
    if row.in_contrast:
        texts = changes.adapted(texts)
    captions = [features.captions[index] for index in chosen.tolist()]
    same = same_meaning(captions, [str(index) for index in chosen.tolist()])
    loss = LAMBDA1 * contrastive(images, texts, features.scale, not_negative=same)
    if row.negatives is None:
        return loss
    edited = features.edited[row.negatives]
    place, weights = edited.place[chosen], edited.weights[chosen]  # (B, Q)
    wrong = changes.adapted(changes.texts(*edited.rows.of(place.flatten()))).view(*place.shape, -1)
    right = changes.adapted(plain)
    return loss + LAMBDA2 * category_aware(
        images, right, wrong, weights, 1 + ALPHA, features.scale, reduction=row.reduction
    )


@torch.no_grad()
def validation(features: Features, changes: Changes, places: Tensor) -> float:
    """Returns plain Rsum of training pairs that were held out."""
    images, texts = changes.images(*features.train_images.of(places)), changes.texts(*features.plain.of(places))
    i2t, t2i = rank_scores(Cosines(images, texts), torch.arange(len(places)))
    return rsum(recall(i2t), recall(t2i))


@torch.no_grad()
def measure(features: Features, changes: Changes, row: Row, found: Found) -> None:
    """Takes the test results of one seed into `found`."""
    images = changes.images(*features.test_images.all)
    texts = changes.texts(*features.test_plain.all)
    some = torch.linspace(0, len(features.captions) - 1, 500).round().long()
    bank_texts = changes.texts(*features.plain.of(some))
    if row.in_contrast:
        texts, bank_texts = changes.adapted(texts), changes.adapted(bank_texts)
    scores, bank = Cosines(images, texts), Cosines(changes.images(*features.train_images.of(some)), bank_texts)
    owner = torch.arange(len(texts))
    ranks = dict(zip(("i2t", "t2i"), rank_scores(scores, owner), strict=True))
    corrected = dict(zip(("i2t", "t2i"), rank_scores(normalised(scores, bank, BETA, "bank"), owner), strict=True))
    numbers: dict[str, float] = {}
    for direction, one in ranks.items():
        found.hits[direction].append(hits(one, 1))
        for k in (1, 5, 10):
            numbers[f"{direction} R@{k}"] = 100 * float(hits(one, k).mean())
        numbers[f"{direction} R@1, normalised"] = 100 * float(hits(corrected[direction], 1).mean())
    numbers["Rsum"] = sum(numbers[f"{d} R@{k}"] for d in ranks for k in (1, 5, 10))
    found.recalls.append(numbers)
    both = changes.texts(*features.edits.all)
    ways = {"plain": both} if changes.category is None else {"plain": both, "caa": changes.adapted(both)}
    contests: Contests = features.contests
    preferred = {}
    for way, vectors in ways.items():
        decided = contests.decide((images[contests.image][:, None] * vectors[contests.choice]).sum(-1))
        preferred |= {f"{kind} ({way})": decided[kind]["preferred"] for kind in KINDS if kind in decided}
    found.edits.append(preferred)


def chosen_rate(features: Features, rates: Sequence[float], steps: int) -> float:
    """Returns the best rate of training without weights or negatives, on a quarter of the training images."""
    everything, row = torch.arange(len(features.captions)), Row("no weights")
    out, learn = everything[::HELD_OUT], everything[everything % HELD_OUT != 0]
    return max(rates, key=lambda rate: validation(features, trained(features, row, learn, rate, steps, 1), out))


def untrained(features: Features) -> dict[str, dict[str, float]]:
    """Returns recall of the training pairs before training, with captions that are weighted in each way: they contain the answer."""
    images, owner = normalize(features.train_images.pooled, dim=-1), torch.arange(len(features.captions))
    found: dict[str, dict[str, float]] = {}
    for label, draws in features.weighted.items():
        both = rank_scores(Cosines(images, normalize(draws[0].pooled, dim=-1)), owner)
        found[label] = {
            f"{direction} R@{k}": 100 * float(hits(ranks, k).mean())
            for direction, ranks in zip(("i2t", "t2i"), both, strict=True)
            for k in (1, 5)
        }
    return found


def main(
    domain: Domain,
    out: Path,
    name: str = "dcar_frozen",
    seeds: int = 5,
    rates: Sequence[float] = RATES,
    steps: int = 600,
    kept: Path | None = None,
) -> None:
    """Measure all rows, and write NAME.json and NAME.md.

    Args:
        domain: the pairs and the towers.
        out: folder to write into.
        name: name of the two files.
        seeds: number of runs of each row.
        rates: learning rates, of which one is chosen.
        steps: optimiser steps of a run.
        kept: file that keeps the features between two runs of this script.
    """
    torch.set_num_threads(1)
    features = read_features(domain, kept)
    results, rate = {"zero-shot": Found()}, chosen_rate(features, rates, steps)
    measure(features, Changes(features, head=False).eval(), Row("zero-shot"), results["zero-shot"])
    everything = torch.arange(len(features.captions))
    for row in rows_of():
        found = results[row.label] = Found()
        for seed in range(1, seeds + 1):
            measure(features, trained(features, row, everything, rate, steps, seed), row, found)
        print(row.label, f"{np.mean([one['Rsum'] for one in found.recalls]):.1f}", flush=True)
    size = f", {domain.image_size} px" if domain.image_size else ""
    about = (
        f"Backbone {Path(domain.backbone).name}{size}, both towers frozen; a linear change behind each learns from "
        f"{len(features.captions):,} pairs: {steps} steps, batch {BATCH}, adamw, cosine schedule; {seeds} seeds. "
        f"lr {rate:g}, chosen from {', '.join(f'{one:g}' for one in rates)} without weights on a quarter of the training images. "
        f"Gallery {len(features.test_captions):,} images with one caption each, which are encoded without weights."
    )
    record, page = pages(results, CLAIMS, about)
    before = untrained(features)
    settings = {"rate": rate, "rates": list(rates), "steps": steps}
    write_json(out / f"{name}.json", settings | record | {"untrained": before})
    write_text(out / f"{name}.md", page + untrained_section(before))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
