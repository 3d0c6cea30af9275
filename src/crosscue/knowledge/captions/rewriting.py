"""Captions that the writer writes again: those over the token budget, and those that several images share."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from crosscue.errors import DataError
from crosscue.knowledge.captions.cleaning import cleaned, normalised, statements
from crosscue.knowledge.captions.domains import domain_of
from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.judging import TokenCount
from crosscue.knowledge.captions.naming import ClassNames, named, names_class
from crosscue.knowledge.captions.prompts import MORE_SPECIFIC, SHORTER, SYSTEM, keep, words_for
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.conversation import HashedImage, Turn
from crosscue.knowledge.failures import ReplyError
from crosscue.knowledge.language_model import LanguageModel


def shortened(record: CaptionRecord, max_tokens: int, token_count: TokenCount) -> CaptionRecord:
    """Returns the record without as many last statements as necessary.

    The class stays, and so does the first statement; behind `A photo of a <class>.` the second one stays too. If that is not
    enough, the whole caption is kept. `n_tokens` is counted.
    """
    kept, fewest = statements(record.caption), 2 if "prefixed" in record.flags else 1
    while token_count(" ".join(kept)) > max_tokens and len(kept) > fewest:
        if names_class(record) and not names_class(record.with_caption(" ".join(kept[:-1]))):
            break
        kept = kept[:-1]
    text = " ".join(kept)
    if token_count(text) > max_tokens:
        text = record.caption
    return record.model_copy(update={"caption": text, "n_tokens": token_count(text) if text else 0})


async def within_length(
    record: CaptionRecord, writer: LanguageModel, writing: Writing, names: ClassNames, token_count: TokenCount
) -> CaptionRecord:
    """Returns the record with a caption of at most `writing.max_tokens` tokens.

    A caption that is still too long after both attempts stays as it is, with the flag `too_long`.
    """
    record = shortened(record.unflagged("too_long"), writing.max_tokens, token_count)
    if record.n_tokens <= writing.max_tokens:
        return record
    question = SHORTER.format(caption=record.caption, words=words_for(writing.max_tokens) * 3 // 4, keep=keep(record))
    try:
        text = await writer.say((Turn("system", SYSTEM), Turn("user", question)))
    except ReplyError:
        return record.flagged("too_long")
    return rewritten(record, text, writing, names, token_count) or record.flagged("too_long")


def rewritten(
    record: CaptionRecord, text: str, writing: Writing, names: ClassNames, token_count: TokenCount
) -> CaptionRecord | None:
    """Returns the record with the writer's new text, cleaned, named and within the length; None if it does not fit."""
    candidate = cleaned(record.with_caption(text))
    if "refused" in candidate.flags or token_count(candidate.caption) < writing.min_tokens:
        return None
    candidate = shortened(named(candidate, names), writing.max_tokens, token_count)
    return candidate if candidate.n_tokens <= writing.max_tokens else None


TRIES = 2
"""Most rewrites of one caption."""


def duplicate_groups(records: Sequence[CaptionRecord]) -> dict[str, list[CaptionRecord]]:
    """Returns normalised caption -> the two or more records that share it.

    All splits are one set here, because a caption in training and in test is a leak.
    """
    groups: dict[str, list[CaptionRecord]] = defaultdict(list)
    for record in records:
        if record.caption:
            groups[normalised(record.caption)].append(record)
    return {key: members for key, members in groups.items() if len(members) > 1}


def duplicate_counts(records: Sequence[CaptionRecord]) -> dict[str, int]:
    """Returns id -> number of images that share its caption, for the records in groups."""
    return {record.id: len(members) for members in duplicate_groups(records).values() for record in members}


async def more_specific(
    record: CaptionRecord,
    shared_by: Mapping[str, int],
    image: HashedImage,
    writer: LanguageModel,
    writing: Writing,
    names: ClassNames,
    token_count: TokenCount,
) -> CaptionRecord:
    """Returns a record of a group with a more specific caption, or unchanged if the writer returns none that fits."""
    if record.id not in shared_by:
        return record
    question = MORE_SPECIFIC.format(
        caption=record.caption,
        count=shared_by[record.id],
        words=words_for(writing.max_tokens),
        keep=keep(record),
        focus=domain_of(record.meta_category).focus,
    )
    try:
        text = await writer.say((Turn("system", SYSTEM), Turn("user", question, (image,))))
    except (ReplyError, DataError):
        return record
    return rewritten(record, text, writing, names, token_count) or record


def with_groups(records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    """Returns the records. Those that still share a caption get a `dup_group` and the flag `duplicate`."""
    group_of = {
        record.id: hashlib.sha256(key.encode()).hexdigest()[:12]
        for key, members in duplicate_groups(records).items()
        for record in members
    }
    return [
        record.model_copy(update={"dup_group": group_of[record.id]}).flagged("duplicate")
        if record.id in group_of
        else record.model_copy(update={"dup_group": None}).unflagged("duplicate")
        for record in records
    ]
