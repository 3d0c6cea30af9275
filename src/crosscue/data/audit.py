"""Faults of a source of pairs, found before they cost a run."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from crosscue.data.features import FeatureRow
from crosscue.data.images import open_image, peculiarities
from crosscue.data.pairs import Pairs
from crosscue.data.splits import held_out, training_pairs
from crosscue.errors import DataError
from crosscue.progress import track


@dataclass
class SplitAudit:
    """Counts of one split."""

    images: int
    captions: int
    categories: int
    duplicate_captions: int
    """Captions that belong to more than one image."""
    largest_group: int
    """Images that share the most common caption."""
    i2t_ceiling: float
    """Best possible R@1 in percent under random tie-breaking, image to text."""
    t2i_ceiling: float
    """Best possible R@1 in percent under random tie-breaking, text to image."""


@dataclass
class Audit:
    """The result of `audit`."""

    source: str
    splits: dict[str, SplitAudit]
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """File and reason."""
    converted: list[tuple[str, str]] = field(default_factory=list)
    """File and conversion."""
    empty_captions: list[str] = field(default_factory=list)
    long_captions: list[tuple[str, int]] = field(default_factory=list)
    """Row and number of tokens beyond the backbone's limit."""
    same_images: list[list[str]] = field(default_factory=list)
    """Files with byte-identical content."""
    leaks: list[str] = field(default_factory=list)
    """Contents that two splits share."""
    without_category: int = 0
    features: list[str] = field(default_factory=list)
    """Files of features that stand in for images, with their towers."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Kind of fault of rows that are no pairs -> the line of each."""
    notes: list[str] = field(default_factory=list)
    """Lines about what reading left out or ignored."""
    uses: list[str] = field(default_factory=list)
    """Numbers of images that training, validation and evaluation use."""

    @property
    def blocking(self) -> bool:
        """True if training or evaluation would fail or be wrong."""
        return bool(self.unreadable or self.empty_captions or self.leaks or self.faults)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return asdict(self) | {"blocking": self.blocking}


def audit(
    pairs: Pairs,
    *,
    token_count: Callable[[str], int] | None = None,
    max_tokens: int = 0,
    images: bool = True,
    faults: Mapping[str, list[str]] | None = None,
) -> Audit:
    """Returns the faults of every pair.

    Args:
        pairs: all splits of a source.
        token_count: counts the tokens of a caption; None skips the check of length.
        max_tokens: room of the text tower.
        images: False opens no image.
        faults: those that `read_pairs` collected.
    """
    by_split: dict[str, list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        by_split[pair.split or ("(none)" if pairs.splits else "all")].append(index)
    found = Audit(pairs.source, {name: _split(pairs, rows) for name, rows in sorted(by_split.items())})
    found.faults = {kind: list(lines) for kind, lines in (faults or {}).items()}
    found.empty_captions = found.faults.pop("empty captions", [])
    found.notes, found.uses = list(pairs.notes), _uses(pairs)
    banks = {image.bank.path: image.bank for image in pairs.images if isinstance(image, FeatureRow)}
    found.features = [f"{path}: tower {bank.tower or 'not named'}" for path, bank in banks.items()]
    found.without_category = sum(pair.category is None for pair in pairs)
    for pair in pairs:
        for caption in pair.captions:
            if not caption.strip():
                found.empty_captions.append(pair.where)
            elif token_count is not None and token_count(caption) > max_tokens:
                found.long_captions.append((pair.where, token_count(caption) - max_tokens))
    content: dict[str, list[int]] = defaultdict(list)
    if images:
        for index, pair in enumerate(track(pairs, "opening images", len(pairs), "images")):
            try:
                if isinstance(pair.image, FeatureRow):
                    content[hashlib.sha256(pair.image.values().numpy().tobytes()).hexdigest()].append(index)
                    continue
                open_image(pair.image, at_least=64)
                found.converted += [(pair.image.name, what) for what in peculiarities(pair.image)]
                content[hashlib.sha256(pair.image.read()).hexdigest()].append(index)
            except DataError as error:
                reason = str(error).removeprefix(f"{pair.image.name}: ")
                found.unreadable.append((pair.image.name, reason))
        found.same_images = [[pairs[i].image.name for i in rows] for rows in content.values() if len(rows) > 1]
    found.leaks = _leaks(pairs, by_split, content)
    return found


def ceilings(pairs: Pairs) -> tuple[float, float]:
    """Returns the best possible R@1 in percent, image to text and text to image, that equal captions leave.

    Equal captions get equal scores. An image that owns some copies of a caption is hit with the share of copies that it
    owns. With one caption each of k images this is 1 / k. A query that is the caption of k images ranks them alike, so
    its own is first with chance 1 / k.
    """
    copies = Counter(pairs.captions)
    owners = Counter(caption for pair in pairs for caption in set(pair.captions))
    with_captions = [pair for pair in pairs if pair.captions]
    i2t = [max(n / copies[caption] for caption, n in Counter(pair.captions).items()) for pair in with_captions]
    t2i = [1 / owners[caption] for pair in with_captions for caption in pair.captions]
    return 100 * sum(i2t) / max(len(i2t), 1), 100 * sum(t2i) / max(len(t2i), 1)


def _uses(pairs: Pairs) -> list[str]:
    """Returns a line for `adapt` and one for `evaluate`, each with its number of images or the reason for none."""
    lines = []
    try:
        train, val = training_pairs(pairs, None, None, seed=0)
        lines.append(f"adapt: {len(train):,} images for training, {len(val or ()):,} for validation")
    except DataError as error:
        lines.append(f"adapt: {error}")
    try:
        tested = held_out(pairs)
        lines.append(f"evaluate: {len(tested):,} images, {'split test' if pairs.splits else 'as there are no splits'}")
    except DataError as error:
        lines.append(f"evaluate: {error}")
    return lines


def _split(pairs: Pairs, rows: list[int]) -> SplitAudit:
    members = pairs.part(pairs[row] for row in rows)
    owners = Counter(caption for pair in members for caption in set(pair.captions))
    shared = {caption for caption, count in owners.items() if count > 1}
    i2t, t2i = ceilings(members)
    return SplitAudit(
        images=len(members),
        captions=len(members.captions),
        categories=len(members.categories),
        duplicate_captions=sum(caption in shared for caption in members.captions),
        largest_group=max(owners.values(), default=0),
        i2t_ceiling=i2t,
        t2i_ceiling=t2i,
    )


def _leaks(pairs: Pairs, by_split: dict[str, list[int]], content: dict[str, list[int]]) -> list[str]:
    digest = {row: key for key, rows in content.items() for row in rows}
    leaks = []
    for one, other in combinations(sorted(by_split), 2):
        for what, of in (
            ("image ids", lambda row: [pairs[row].image_id]),
            ("byte-identical images", lambda row: [digest[row]] if row in digest else []),
            ("captions", lambda row: pairs[row].captions),
        ):
            first, second = ({value for row in by_split[name] for value in of(row)} for name in (one, other))
            common = first & second
            if common:
                leaks.append(
                    f"{len(common):,} {what} are in both '{one}' and '{other}', e.g. {sorted(common)[0][:60]!r}"
                )
    return leaks
