"""Categories that are easily taken for each other: those with the nearest names, or of the same meta-category.

A text tower already refuses most captions with the name of any other category; names like these are harder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crosscue.data.wording import key
from crosscue.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

NEAREST = 5
"""Number of nearest names that a category is exchanged for."""


def nearest_names(names: Sequence[str], embeddings: Tensor) -> dict[str, list[str]]:
    """Returns for each category, by the key of its name, the keys of the nearest other names, nearest first.

    Args:
        names: of N categories.
        embeddings: (N, D) unit vectors of the names, in one text tower.
    """
    scores = embeddings @ embeddings.T  # (N, N)
    scores.fill_diagonal_(float("-inf"))
    nearest = scores.topk(min(NEAREST, len(names) - 1), dim=1).indices.tolist()  # (N, NEAREST)
    return {key(name): [key(names[index]) for index in row] for name, row in zip(names, nearest, strict=True)}


def same_meta(names: Sequence[str], groups: Mapping[str, Sequence[str]], source: str) -> dict[str, list[str]]:
    """Returns for each category, by the key of its name, the keys of the others of its meta-category.

    Args:
        names: of all categories.
        groups: meta-category -> its categories.
        source: the mapping, for the message.

    Raises:
        DataError: a category has no meta-category.
    """
    of = {key(member): group for group, members in groups.items() for member in members}
    missing = [name for name in names if key(name) not in of]
    if missing:
        raise DataError(
            f"{source}: {len(missing)} categories have no meta-category: {', '.join(missing[:5])}. Add each to a list in it, "
            "such as `animal: [owl, rooster]`."
        )
    keys = [key(name) for name in names]
    return {one: [other for other in keys if other != one and of[other] == of[one]] for one in keys}
