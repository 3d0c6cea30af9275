"""Few-shot samples per category, and validation pairs held out of training."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from crosscue.data.pairs import Pairs
from crosscue.errors import DataError


def few_shot(pairs: Pairs, shots: int, seed: int) -> Pairs:
    """Returns `shots` pairs of every category, drawn without replacement; a smaller category keeps all of its pairs.

    An image with several pairs counts once for each. The draw depends on the seed, the image ids and the captions, not on
    the order of the file.

    Raises:
        DataError: pairs without a category.
    """
    if shots < 1:
        raise DataError(f"shots is {shots}; it must be at least 1.")
    by_category: dict[str, list[int]] = defaultdict(list)
    for place, pair in enumerate(pairs):
        if pair.category is None:
            raise DataError(
                f"{pair.where or pair.image.name}: no category, and few-shot sampling draws per category. "
                "Add a category column, or leave --shots out."
            )
        by_category[pair.category].append(place)
    chosen: list[int] = []
    for category, places in by_category.items():
        ordered = sorted(places, key=lambda place: (pairs[place].image_id, pairs[place].captions))
        generator = np.random.default_rng([seed, *hashlib.sha256(category.encode()).digest()[:8]])
        chosen += [ordered[index] for index in generator.permutation(len(ordered))[:shots]]
    return pairs.part((pairs[place] for place in sorted(chosen)), f" {shots}-shot seed {seed}")


def few_shot_validation(pairs: Pairs, shots: int, seed: int) -> Pairs:
    """Returns at most 4 validation pairs of every category, and no more than the training shots (CoOp's protocol)."""
    return few_shot(pairs, min(shots, 4), seed)


def split_off(pairs: Pairs, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Returns (rest, held out): about `share` of the images of every category, pairs of one image kept together.

    Raises:
        DataError: the share is not between 0 and 1, or one of the parts would have fewer than two images.
    """
    if not 0 < share < 1:
        raise DataError(f"validation share is {share}; it must be between 0 and 1, e.g. 0.1.")
    by_category: dict[str, dict[str, None]] = defaultdict(dict)
    for pair in pairs:
        by_category[pair.category or ""][pair.image_id] = None
    ranked = [
        ((rank + 0.5) / len(ids), _order(seed, image_id), image_id)
        for ids in by_category.values()
        for rank, image_id in enumerate(sorted(ids, key=lambda image_id: _order(seed, image_id)))
    ]  # rank within the category, so that small categories are not held out whole
    count = round(share * len(ranked))
    held = {image_id for _, _, image_id in sorted(ranked)[:count]}
    if count < 2 or len(ranked) - count < 2:
        raise DataError(
            f"{pairs.source}: {len(ranked)} images cannot be split into training and {share:.0%} validation with at least "
            "2 each. Give more images, another share, or, for one method, --validation false."
        )
    rest = pairs.part((pair for pair in pairs if pair.image_id not in held), " without validation")
    return rest, pairs.part((pair for pair in pairs if pair.image_id in held), f" held out {share:g} seed {seed}")


def folds(pairs: Pairs, count: int, seed: int) -> list[list[int]]:
    """Returns the indices of the pairs in `count` parts of about equal size, pairs of one image kept together.

    Every category is spread over the parts. The parts depend on the seed and the image ids, not on the order of the file.
    """
    by_image: dict[str, list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        by_image[pair.image_id].append(index)
    ranked = sorted(
        by_image, key=lambda image_id: (pairs[by_image[image_id][0]].category or "", _order(seed, image_id))
    )
    return [sorted(index for image_id in ranked[part::count] for index in by_image[image_id]) for part in range(count)]


def _order(seed: int, image_id: str) -> str:
    return hashlib.sha256(f"{seed} {image_id}".encode()).hexdigest()
