"""Counts of the faults in a file of the FDRD release: the reasons to write negatives anew."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crosscue.data.wording import article, mentions
from crosscue.errors import DataError
from crosscue.storage import read_json

GLUED = re.compile(r"[Aa]ir(?=[A-Z0-9])")
"""The result of an exchange of `plane` inside `airplane`."""


@dataclass(frozen=True)
class FdrdDefects:
    """Counts over one file. Texts are compared as they are; names as whole words, whatever their case, hyphens and underscores."""

    captions: int
    classes: int
    negatives: int
    identical: int
    """Negatives equal to their caption."""
    rows_with_identical: int
    rows_all_identical: int
    rows_with_repeated: int
    """Captions two of whose negatives are equal."""
    class_left_in: int
    """Negatives, not identical, that still name the caption's class."""
    glued: int
    """Negatives where a name was put into the middle of a word."""
    rows_with_glued: int
    equal_to_another_caption: int
    not_a_class_exchange: int
    """Negatives, not identical, that do not name another class of the file that the caption does not name."""
    class_absent: int
    """Captions that do not name their class."""
    wrong_article: int
    """Captions with `a` before a spoken vowel or `an` before a consonant."""
    no_space_after_period: int
    duplicate_rows: int
    """Captions of more than one image."""
    duplicate_groups: int
    largest_group: int
    ceiling: float
    """R@1 in percent of perfect features: equal captions tie."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types."""
        return asdict(self)


def fdrd_defects(path: Path) -> FdrdDefects:
    """Counts the defects of one JSON file of the release.

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
        same = sum(text == caption for text in negatives)
        glued = sum(len(GLUED.findall(text)) > len(GLUED.findall(caption)) for text in negatives)
        present = {mention.name for mention in mentions(caption, names)}
        count["negatives"] += len(negatives)
        count["identical"] += same
        count["rows_with_identical"] += same > 0
        count["rows_all_identical"] += bool(negatives) and same == len(negatives)
        count["rows_with_repeated"] += len(set(negatives)) < len(negatives)
        count["glued"] += glued
        count["rows_with_glued"] += glued > 0
        for text in negatives:
            if text != caption:
                count["class_left_in"] += bool(mentions(text, [own]))
                count["equal_to_another_caption"] += text in captions
                count["not_a_class_exchange"] += not ({mention.name for mention in mentions(text, names)} - present)
        count["class_absent"] += not mentions(caption, [own])
        count["wrong_article"] += any(
            found.group(1).lower() != article(found.group(2))
            for found in re.finditer(r"\b([Aa]n?) (\w[\w-]*)", caption)
        )
        count["no_space_after_period"] += bool(re.search(r"[a-z]\.[A-Z]", caption))
    return FdrdDefects(
        captions=len(records),
        classes=len(names),
        duplicate_rows=sum(groups),
        duplicate_groups=len(groups),
        largest_group=max(groups, default=1),
        ceiling=100 * len(captions) / len(records),
        **{name: count[name] for name in FdrdDefects.__dataclass_fields__ if name in COUNTED},
    )


COUNTED = {
    "negatives",
    "identical",
    "rows_with_identical",
    "rows_all_identical",
    "rows_with_repeated",
    "class_left_in",
    "glued",
    "rows_with_glued",
    "equal_to_another_caption",
    "not_a_class_exchange",
    "class_absent",
    "wrong_article",
    "no_space_after_period",
}


def class_of(name: str, record: dict[str, Any]) -> str:
    """Returns the class a record belongs to: its own field, or what stands before the number in its name or key."""
    stated = record.get("class_name")
    if stated:
        return str(stated)
    file_name = str(record["file_name"])
    found = file_name if not file_name.isdigit() else name  # aircraft: the key carries the variant, with _ for /
    return re.sub(r"_(image_)?\d+(\.jpg)?$", "", found)
