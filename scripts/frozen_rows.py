"""Rows of scripts/frozen_dcar.py, and the features they learn from: each is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import embed_texts, encode_rows
from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.token_weights import TokenWeights, WeightsPlace
from crosscue.data.features import feature_rows
from crosscue.data.fewshot import few_shot
from crosscue.data.harder_categories import nearest_names
from crosscue.data.negatives import NegativesConfig, NegativeWriter, with_negatives
from crosscue.data.pairs import Pairs
from crosscue.data.sources import read_pairs
from crosscue.evaluation.minimal_pairs import Contests
from crosscue.methods.dcar.category import weight
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.images import cached_images
from crosscue.methods.registry import build

PLACES: tuple[WeightsPlace, ...] = ("pooling", "input", "attention")
CONTROLS = ("own", "wrong image", "shuffled", "marginal blank")
"""Weights in every place, and their controls."""
DRAWS = 2
"""Draws of a random control; a step takes one of them."""
ALPHA = 0.5


@dataclass(frozen=True)
class Vectors:
    """Output of a tower for N inputs: (N, D) in the shared space, and (N, W) before the projection."""

    pooled: Tensor
    hidden: Tensor

    @property
    def all(self) -> tuple[Tensor, Tensor]:
        """Returns both."""
        return self.pooled, self.hidden

    def of(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both at some places."""
        return self.pooled[places], self.hidden[places]


@dataclass(frozen=True)
class EditedRows:
    """Edited captions of the training pairs."""

    rows: Vectors
    place: Tensor
    """(N, 2) index of each caption's negatives in `rows`."""
    weights: Tensor
    """(N, 2) w of eq. 17; 0 where there is none."""


@dataclass(frozen=True)
class Row:
    """One way to train."""

    label: str
    weights: str = "none"
    """Key of `Features.weighted`."""
    dropout: float = 0.0
    """Share of captions trained without weights."""
    negatives: str | None = None
    """Key of `Features.edited`."""
    head: Literal["none", "head"] = "none"
    head_rate: float = 1.0
    reduction: Literal["mean", "sum"] = "mean"
    in_contrast: bool = False


@dataclass(frozen=True)
class Features:
    """All that the rows read."""

    captions: list[str]
    test_captions: list[str]
    scale: Tensor
    train_images: Vectors
    test_images: Vectors
    plain: Vectors
    test_plain: Vectors
    weighted: dict[str, list[Vectors]]
    edited: dict[str, EditedRows]
    edits: Vectors
    contests: Contests


CLAIMS = [
    *((f"own weights over none ({place})", f"own, {place}", "no weights") for place in PLACES),
    *((f"own weights over a wrong image's ({place})", f"own, {place}", f"wrong image, {place}") for place in PLACES),
    *((f"own weights over shuffled ones ({place})", f"own, {place}", f"shuffled, {place}") for place in PLACES),
    *((f"marginal blank over none ({place})", f"marginal blank, {place}", "no weights") for place in PLACES),
    *((f"half without weights over none ({place})", f"own, {place}, half without", "no weights") for place in PLACES),
    ("negatives of any name, no head, over none", "any name, no head", "no weights"),
    ("negatives of near names, no head, over none", "near names, no head", "no weights"),
    ("head at the same rate over none", "near names, head", "no weights"),
    ("slow head over none", "near names, slow head", "no weights"),
]
"""Claim, row, and the row it is compared with."""


def rows_of() -> list[Row]:
    """Returns the rows in the order of the tables."""
    rows = [Row("no weights")]
    rows += [Row(f"{name}, {place}", f"{name}, {place}") for place in PLACES for name in CONTROLS]
    rows += [Row(f"own, {place}, half without", f"own, {place}", dropout=0.5) for place in PLACES]
    none = Row("near names, no head", negatives="near names")
    head = replace(none, label="near names, head", head="head")
    slow = replace(head, label="near names, slow head", head_rate=0.01)
    total = replace(head, label="near names, head, printed sum", reduction="sum")
    within = replace(head, label="near names, head in L_con too", in_contrast=True)
    return [*rows, replace(none, label="any name, no head", negatives="any name"), none, head, slow, total, within]


@dataclass(frozen=True)
class Domain:
    """A source with categories and a test split, and the towers that read it.

    Attributes:
        data: the source.
        backbone: folder or name of the towers.
        image_size: side of the images in pixels; null is the size of the tower.
        shots: training pairs of each category; null is all of them.
        unverified: accept features whose tower is not known.
    """

    data: str
    backbone: str = "starter"
    image_size: int | None = 160
    shots: int | None = None
    unverified: bool = False


def read_features(domain: Domain, kept: Path | None) -> Features:
    """Returns the features of a domain, read from `kept` where it is there."""
    if kept is not None and kept.exists():
        of: Domain
        found: Features
        of, found = torch.load(kept, weights_only=False)
        if of != domain:
            raise SystemExit(f"{kept}: these are features of {of}. Name another file, or delete it.")
        return found
    torch.manual_seed(0)
    pairs = read_pairs(domain.data, reading={"unverified": domain.unverified})
    train, test = (Pairs((p for p in pairs if p.split == split), split, pairs.origin) for split in ("train", "test"))
    train = train if domain.shots is None else few_shot(train, domain.shots, 1)
    backbone = load_backbone(domain.backbone, image_size=domain.image_size, device="cpu")
    dcar = built("pooling", backbone)
    sides = [images_of(part, dcar) for part in (train, test)]
    captions = [pair.captions[0] for pair in train]
    vectors = normalize(sides[0].pooled, dim=-1)
    plain, weighted = encoded(dcar, captions), {}
    weighted["none"] = [plain]
    dcar.remember(captions)
    for place in PLACES:
        own = built(place, backbone)
        own.token_features = dcar.token_features
        for name in CONTROLS:
            weighted[f"{name}, {place}"] = [weighed(own, captions, vectors, name) for _ in range(drawn(name))]
            print(name, place, flush=True)
    names = list(pairs.categories)
    near = nearest_names(names, embed_texts([name.replace("_", " ") for name in names], dcar.encode_text))
    edited = {}
    for label, exchanges in (("any name", None), ("near names", near)):
        writer = NegativeWriter(pairs, NegativesConfig(category=1, attribute=1), exchanges=exchanges)
        edited[label] = edited_rows(dcar, with_negatives(train, writer)[0])
    hard = NegativeWriter(pairs, NegativesConfig(category=1, attribute=1), exchanges=near)
    contests = Contests.of(with_negatives(test, hard)[0])
    test_captions = [pair.captions[0] for pair in test]
    made = Features(
        captions,
        test_captions,
        dcar.scale.detach(),
        *sides,
        plain,
        encoded(dcar, test_captions),
        weighted,
        edited,
        encoded(dcar, contests.texts),
        contests,
    )
    if kept is not None:
        torch.save((domain, made), kept)
    return made


def drawn(name: str) -> int:
    """Returns the number of draws of a control."""
    return DRAWS if name in ("wrong image", "shuffled") else 1


def built(place: WeightsPlace, backbone: Backbone) -> Dcar:
    """Returns method dcar without prompts."""
    options = {"dp": False, "ca": False, "image_prompts": False, "weights_image": "frozen", "weights_place": place}
    method = build("dcar", backbone, options | {"context_tokens": 8})
    assert isinstance(method, Dcar)
    return method.eval()


@torch.no_grad()
def images_of(pairs: Pairs, dcar: Dcar) -> Vectors:
    """Returns the features of all images of a split; where only pooled ones are known, these for both."""
    images = cached_images(pairs, dcar)
    parts = [images[range(start, min(start + 256, len(pairs)))] for start in range(0, len(pairs), 256)]
    pooled = torch.cat([part.pooled for part in parts])
    known = pooled if feature_rows(pairs.images, pairs.origin) else torch.cat([part.hidden for part in parts])
    return Vectors(pooled, known)


@torch.no_grad()
def encoded(dcar: Dcar, texts: Sequence[str], weights: Callable[[list[int]], TokenWeights] | None = None) -> Vectors:
    """Returns the features of texts, each with the weights of its words."""

    def read(rows: list[int]) -> Tensor:
        given = None if weights is None else weights(rows)
        features = dcar.backbone.encode_text(dcar.tokenize([texts[row] for row in rows]), None, given)
        return torch.cat([features.pooled.float(), features.hidden.float()], dim=1)

    both = encode_rows(texts, read, 64)
    return Vectors(*both.split([dcar.backbone.embed_dim, dcar.backbone.text_width], dim=1))


def weighed(dcar: Dcar, captions: Sequence[str], images: Tensor, control: str) -> Vectors:
    """Returns the features of captions with the token weights of one control.

    Args:
        dcar: it has the place of the weights.
        captions: N captions.
        images: (N, D) unit vectors of their images.
        control: a name in `CONTROLS`.
    """
    count = len(captions)
    shift = int(torch.randint(1, count, ())) if control == "wrong image" else 0
    given = images.roll(shift, 0)
    blank = normalize(images.mean(0), dim=-1) if control == "marginal blank" else dcar.blank_feature()
    dcar.config = replace(dcar.config, weight_control="shuffled" if control == "shuffled" else "none")

    def weights(rows: list[int]) -> TokenWeights:
        texts = [captions[row] for row in rows]
        return TokenWeights(dcar.token_weights(texts, dcar.tokenize(texts), given[rows], blank), dcar.place)

    return encoded(dcar, captions, weights)


def edited_rows(dcar: Dcar, pairs: Pairs) -> EditedRows:
    """Returns the features of all negatives of the training pairs."""
    texts = [negative.text for pair in pairs for negative in pair.negatives]
    place, weights = torch.zeros(len(pairs), 2, dtype=torch.int64), torch.zeros(len(pairs), 2)
    following = 0
    for row, pair in enumerate(pairs):
        for column, negative in enumerate(pair.negatives):
            place[row, column], weights[row, column] = following, weight(negative.type, ALPHA)
            following += 1
    return EditedRows(encoded(dcar, texts), place, weights)
