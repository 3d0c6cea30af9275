"""Counts of the faults in a file of the FDRD release: the reasons to write negatives anew."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from crosscue.data.wording import article, mentions
from crosscue.errors import DataError
from crosscue.storage import read_json

GLUED = re.compile(r"[Aa]ir(?=[A-Z0-9])")
"""The result of an exchange of `plane` inside `airplane`."""


def fdrd_defects(path: Path) -> dict[str, int | float]:
    """Returns the counts of one JSON file of the release by name, the defects among them.

    Texts are compared as they are; names as whole words, whatever their case, hyphens and underscores.

    Raises:
        DataError: the file has another form.
    """
    try:
        content: dict[str, dict[str, Any]] = read_json(path)
        records = [
            (class_of(name, record), str(record["positive"]), [str(text) for text in record.get("negative") or ()])
            for name, record in content.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a file of the FDRD release ({error}). Give a JSON file such as pets_test.json."
        ) from error
    if not records:
        raise DataError(f"{path}: the file holds no captions (the release has one such file for caltech-101 train).")
    captions = Counter(caption for _, caption, _ in records)
    names = {name for name, _, _ in records}
    groups = [count for count in captions.values() if count > 1]
    count: Counter[str] = Counter()
    for own, caption, negatives in records:
        changed = [text for text in negatives if text != caption]
        glued = sum(len(GLUED.findall(text)) > len(GLUED.findall(caption)) for text in negatives)
        present = {mention.name for mention in mentions(caption, names)}
        articles = re.finditer(r"\b([Aa]n?) (\w[\w-]*)", caption)
        count["negatives"] += len(negatives)
        count["identical"] += len(negatives) - len(changed)  # to their caption
        count["rows_with_identical"] += len(changed) < len(negatives)
        count["rows_all_identical"] += len(negatives) > 0 and not changed
        count["rows_with_repeated"] += len(set(negatives)) < len(negatives)
        count["class_left_in"] += sum(bool(mentions(text, [own])) for text in changed)
        count["glued"] += glued  # a name was put into the middle of a word
        count["rows_with_glued"] += glued > 0
        count["equal_to_another_caption"] += sum(text in captions for text in changed)
        # the negative names no class of the file but those that the caption names
        count["not_a_class_exchange"] += sum({m.name for m in mentions(text, names)} <= present for text in changed)
        count["class_absent"] += not mentions(caption, [own])
        # `a` before a spoken vowel, or `an` before a consonant
        count["wrong_article"] += any(found[1].lower() != article(found[2]) for found in articles)
        count["no_space_after_period"] += bool(re.search(r"[a-z]\.[A-Z]", caption))
    return {
        "captions": len(records),
        "classes": len(names),
        **count,
        "duplicate_rows": sum(groups),  # captions of more than one image
        "duplicate_groups": len(groups),
        "largest_group": max(groups, default=1),
        "ceiling": 100 * len(captions) / len(records),  # R@1 in percent of perfect features: equal captions tie
    }


def class_of(name: str, record: dict[str, Any]) -> str:
    """Returns the class a record belongs to: its own field, or what stands before the number in its name or key."""
    stated = record.get("class_name")
    if stated:
        return str(stated)
    file_name = str(record["file_name"])
    found = file_name if not file_name.isdigit() else name  # aircraft: the key carries the variant, with _ for /
    return re.sub(r"_(image_)?\d+(\.jpg)?$", "", found)
