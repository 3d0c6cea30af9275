"""Pairs of a search: those to learn from, those to choose by, and their images, each encoded once for all trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from crosscue.backbones import frozen
from crosscue.backbones.embedding import embed_texts
from crosscue.data.features import feature_rows
from crosscue.data.fewshot import folds
from crosscue.data.splits import HELD_OUT, training_pairs
from crosscue.errors import DataError
from crosscue.methods.images import check_images
from crosscue.progress import note

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method

LEAST_PAIRS = 8
"""Images that a search needs, and validation images that choose by themselves; of fewer no standard error could be known."""
FEW = 200
"""Images below which folds take the place of one validation split."""
FOLDS = 4
MOST_VALIDATION = 300
"""Images that a trial is validated on at most."""
WANTED_VALIDATION = 200
"""Images that are held out if the source has no split `val`, as far as they are at most a quarter."""
PROBED = 16
"""Images whose encoding is timed before all are encoded."""
ENCODING_SHARE = 0.5
"""Share of the budget for the first encoding of all images; all candidates need it, and the heads need little more."""


@dataclass(frozen=True)
class Fold:
    """Indices of the pairs that a trial learns from and is validated on."""

    train: list[int]
    val: list[int]


class Pool:
    """All pairs of a search. The test split is not among them."""

    def __init__(self, pairs: Pairs, parts: list[Fold], backbone: Backbone, frozen_layers: int) -> None:
        """Takes the number of image layers that the candidates leave frozen, beside the pairs and their folds."""
        self.pairs, self.folds, self.backbone, self.frozen_layers = pairs, parts, backbone, frozen_layers
        pixels = frozen.pixel_store(pairs.images, backbone, source=pairs.origin)
        if feature_rows(pairs.images, pairs.origin):
            self._behind: dict[int | str, Images] = {"pooled": frozen.cached_images(pixels, backbone, "pooled")}
        else:
            states = frozen.cached_images(pixels, backbone, frozen_layers)
            pooled = frozen.FrozenFeatures(backbone, pixels, states)
            self._behind = {0: pixels, frozen_layers: states, "pooled": pooled}

    def part(self, indices: Iterable[int]) -> Pairs:
        """Returns the pairs with these indices."""
        return self.pairs.part(self.pairs[index] for index in indices)

    def images(self, method: Method[Any], indices: Sequence[int]) -> frozen.Chosen:
        """Returns the images with these indices behind the layers that `method` leaves frozen.

        Raises:
            MethodError: they are features, and the method reads pixels.
        """
        check_images(self.pairs, method)
        return frozen.Chosen(self._behind[method.image_use.frozen_layers], indices)

    def fill(self) -> None:
        """Encodes all images through the layers that stay frozen, and through all, unless a cache has them."""
        for images in self._behind.values():
            images[[0]]

    @property
    def crossed(self) -> bool:
        """True if trials are validated on several folds."""
        return len(self.folds) > 1

    @property
    def everything(self) -> list[int]:
        """Indices of all pairs."""
        return list(range(len(self.pairs)))


def check_source(source: Pairs, shots: int | None, validation: float | bool | None, seed: int) -> None:
    """Raises `DataError` where fewer than 8 images are left to learn from, or no validation is wanted."""
    named = f"crosscue adapt --data {source.origin} --method linear_probe --validation false"
    if validation is False:
        raise DataError(
            f"method 'auto' chooses on validation pairs, and --validation false leaves none. Leave it out, or name a method: {named}"
        )
    images, drawn_so = count_images(learnable(source)), ""
    if images >= LEAST_PAIRS and shots is not None:
        images, drawn_so = count_images(wanted(source, shots, validation, seed)), f" with --shots {shots}"
    if images < LEAST_PAIRS:
        raise DataError(
            f"{source.source}: {images} images to learn from{drawn_so}; method 'auto' needs at least {LEAST_PAIRS} to compare "
            f"methods. Add images, or name a method: {named}"
        )


def count_images(*parts: Pairs) -> int:
    """Returns the number of distinct images of pairs."""
    return len({pair.image_id for pairs in parts for pair in pairs})


def wanted(source: Pairs, shots: int | None, validation: float | bool | None, seed: int) -> Pairs:
    """Returns all pairs of a search, those that it learns from and those that it validates on, before time bounds them."""
    train, val = training_pairs(source, shots, held_share(source, validation), seed)
    return source.part([*train, *(val or ())])


def learnable(source: Pairs) -> Pairs:
    """Returns the pairs that a search may read: those of the splits `train` and `val`, or all of a source without splits."""
    if not source.splits:
        return source
    return source.part([*source.split("train"), *(source.split("val") if "val" in source.splits else ())])


def held_share(source: Pairs, validation: float | bool | None) -> float | bool | None:
    """Returns the share to hold out: about 200 images, a tenth to a quarter; None where the source has a split `val`.

    A share that is given holds where there are enough images for one validation split.
    """
    images = count_images(learnable(source))
    if not (validation is None or validation is True or images < FEW):
        return validation
    if "val" in source.splits:
        return None
    return max(HELD_OUT, min(WANTED_VALIDATION / images, 0.25))


def pool_of(
    source: Pairs,
    backbone: Backbone,
    shots: int | None,
    validation: float | bool | None,
    seed: int,
    most: int,
    frozen_layers: int,
) -> Pool:
    """Returns the pool of a source.

    Args:
        source: all pairs; its test split is left out.
        backbone: the towers that read the images.
        shots: number of pairs of each category to learn from; None takes all.
        validation: see `held_share`.
        seed: seed of all draws.
        most: number of images at most, to learn from and to be validated on.
        frozen_layers: number of image layers that the candidates leave frozen.
    """
    train, val = training_pairs(source, shots, held_share(source, validation), seed)
    assert val is not None
    if count_images(train, val) < FEW or count_images(val) < LEAST_PAIRS:
        if type(validation) is float:
            note(f"so few images are validated in {FOLDS} folds; validation {validation:g} is not used")
        pairs = drawn(learnable(source).part([*train, *val]), most, seed)
        parts = folds(pairs, FOLDS, seed)
        everything = range(len(pairs))
        return Pool(pairs, [Fold(sorted({*everything} - {*part}), part) for part in parts], backbone, frozen_layers)
    val = drawn(val, min(MOST_VALIDATION, most // 3), seed)
    train = drawn(train, most - len(val), seed)
    pairs = train.part([*train, *val])
    fold = Fold(list(range(len(train))), list(range(len(train), len(pairs))))
    return Pool(pairs, [fold], backbone, frozen_layers)


def drawn(pairs: Pairs, most: int, seed: int) -> Pairs:
    """Returns at most `most` pairs, drawn without replacement and kept in order."""
    if len(pairs) <= most:
        return pairs
    places = some(range(len(pairs)), most, seed)
    return pairs.part((pairs[place] for place in places), f" {most} drawn with seed {seed}")


def some(indices: Sequence[int], most: int, seed: int) -> list[int]:
    """Returns at most `most` of the indices, drawn without replacement and kept in order."""
    places = np.random.default_rng(seed).permutation(len(indices))[:most]
    return [indices[place] for place in sorted(places.tolist())]


def encoding_seconds(pairs: Pairs, backbone: Backbone, clock: Callable[[], float] = time.monotonic) -> float:
    """Returns the seconds that reading and encoding one image takes here; the first images warm up."""
    store = frozen.pixel_store(pairs.images[: 2 * PROBED], backbone, cache=False, source=pairs.origin)
    half = -(-len(store) // 2)
    seconds = 0.0
    with torch.no_grad():
        for images in (range(half), range(len(store) - half, len(store))):
            started = clock()
            backbone.encode_image(store[list(images)].to(backbone.device)).pooled.sum().item()
            seconds = clock() - started
    return seconds / half


def caption_seconds(pairs: Pairs, backbone: Backbone, clock: Callable[[], float] = time.monotonic) -> float:
    """Returns the seconds that encoding the captions of one image takes here; the first captions warm up."""
    texts = list(dict.fromkeys(pairs.captions))
    probed, seconds = texts[: 4 * PROBED], 0.0
    with torch.no_grad():
        for _ in range(2):
            started = clock()
            embed_texts(probed, lambda part: backbone.encode_text(backbone.tokenize(part)).pooled)
            seconds = clock() - started
    return seconds / len(probed) * len(texts) / count_images(pairs)
