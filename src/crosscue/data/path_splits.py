"""Splits from the folders of images: whole names such as train, never a part of a word."""

from __future__ import annotations

import re
from collections.abc import Sequence

NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Name in lower case -> split."""
Folders = tuple[str, ...]
"""Names of the folders from a source down to an image."""


def canonical_split(name: str) -> str:
    """Returns `val` for validation and dev, `train` for training; other names in lower case."""
    lowered = name.strip().lower()
    return NAMES.get(lowered, lowered)


def folder_split(name: str) -> str | None:
    """Returns the split that a folder is named after, also as in `train2017`, `test_set` and `val images`; None for any other."""
    return NAMES.get(
        re.sub(r"(?<=[a-z])([ _-]?((19|20)\d\d|set)|[ _-](images?|imgs?|data|split))$", "", name.strip().lower())
    )


def split_in_words(name: str) -> str | None:
    """Returns the one split among the words of a file name, such as `captions_val2017`; None if there is none, or several."""
    found = {split for word in re.findall(r"[a-z]+", name.lower()) if (split := NAMES.get(word))}
    return found.pop() if len(found) == 1 else None


def split_depth(images: Sequence[Folders], least: int = 1) -> int | None:
    """Returns the depth of the folders that are splits: 0 for the top.

    All names at that depth are splits, or there are two splits among them. One split beside other names is a category
    such as the vehicle `train`.

    Args:
        images: the folders of each image.
        least: smallest number of different splits.
    """
    for depth in range(max(map(len, images), default=0)):
        names = names_at(images, depth)
        splits = {split for name in names if (split := folder_split(name))}
        if len(splits) >= least and (len(splits) >= 2 or all(map(folder_split, names))) and splits:
            return depth
    return None


def names_at(images: Sequence[Folders], depth: int) -> set[str]:
    """Returns the names of the folders at a depth; an empty name stands for images above it."""
    return {folders[depth] if depth < len(folders) else "" for folders in images}


def split_and_category(images: Sequence[Folders]) -> list[tuple[str | None, str | None]]:
    """Returns split and category of each image: the folder at the depth of splits, and the last other one.

    Folders above the splits that all images share are no category.
    """
    depth = split_depth(images)
    if depth is None:
        return [(None, folders[-1] if folders else None) for folders in images]
    above = 0
    while above < depth and len(names_at(images, above)) == 1:
        above += 1
    found = []
    for folders in images:
        split = folder_split(folders[depth]) if depth < len(folders) else None
        within = folders[above:depth] + folders[depth + (split is not None) :]
        found.append((split, within[-1] if within else None))
    return found


def split_notes(source: str, images: Sequence[Folders]) -> list[str]:
    """Returns a line where the folders of some images are splits and those of others are not."""
    depth = split_depth(images)
    for level in range(max(map(len, images), default=0)):
        names = names_at(images, level)
        single = sorted(name for name in names if folder_split(name))
        others = sorted(name for name in names if name and not folder_split(name))
        if depth is None and single and others:
            return [
                f"{source}: the folder '{single[0]}' stands beside {', '.join(map(repr, others[:3]))}, so it is a category. "
                "For splits, use the folders train, val and test alone, or a column split"
            ]
    return []
