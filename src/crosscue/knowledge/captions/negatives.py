"""Negatives: edited captions that are wrong for their image, and an audit of their defects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosscue.data.negatives import NegativesConfig, NegativeWriter, plain
from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.data.wording import key, mentions
from crosscue.knowledge.captions.judging import TokenCount
from crosscue.knowledge.captions.record import CaptionRecord

DEFECTS = (
    "equal to the caption",
    "repeated",
    "equal to another caption",
    "true class still there",
    "true class gone",
    "over the token budget",
)


def negative_writer(
    records: Sequence[CaptionRecord], config: NegativesConfig, token_count: TokenCount, max_tokens: int
) -> NegativeWriter | None:
    """Returns the writer of negatives; None if no record has a class, or if no negatives are wanted.

    A set of a single class gets attribute negatives only.
    """
    pairs = Pairs([_pair(record) for record in records if record.caption], "captions")
    classes = len(pairs.categories)
    if classes < 2:
        config = replace(config, category=0)
    if not classes or not config.category + config.attribute:
        return None
    return NegativeWriter(pairs, config, token_count=token_count, max_tokens=max_tokens)


def negated(record: CaptionRecord, writer: NegativeWriter | None) -> CaptionRecord:
    """Returns the record with its negatives: fewer than wanted if no more can be made that are wrong and clean."""
    if writer is None or not record.caption or record.class_name is None:
        return record.model_copy(update={"negatives": ()})
    return record.model_copy(update={"negatives": writer.write(_pair(record))})


def negatives_audit(records: Sequence[CaptionRecord], token_count: TokenCount, max_tokens: int) -> dict[str, Any]:
    """Returns counts by type, and counts of defects, which all have to be zero."""
    positives = {plain(record.caption): record.id for record in records if record.caption}
    counts: Counter[str] = Counter()
    defects = Counter(dict.fromkeys(DEFECTS, 0))
    for record in records:
        own = [key(record.class_name)] if record.class_name is not None else []
        seen: set[str] = set()
        for negative in record.negatives:
            text = plain(negative.text)
            counts[negative.type] += 1
            named = bool(mentions(negative.text, own))
            defects["equal to the caption"] += text == plain(record.caption)
            defects["repeated"] += text in seen
            defects["equal to another caption"] += text in positives and text != plain(record.caption)
            defects["true class still there"] += negative.type == "category" and named
            defects["true class gone"] += negative.type == "attribute" and bool(own) and not named
            defects["over the token budget"] += token_count(negative.text) > max_tokens
            seen.add(text)
    if not counts:
        return {}
    counts["captions without any"] = sum(not record.negatives for record in records if record.caption)
    return {"counts": dict(counts), "defects": dict(defects)}


def _pair(record: CaptionRecord) -> Pair:
    return Pair(ImageFile(Path(record.image_path)), (record.caption,), record.id, record.class_name, split=record.split)
