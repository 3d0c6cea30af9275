"""Captions that several pictures share: the writer is asked for what is particular, twice at most."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from crosscue.errors import DataError
from crosscue.knowledge.captions.domains import domain_of
from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.judging import TokenCount
from crosscue.knowledge.captions.length import rewritten
from crosscue.knowledge.captions.naming import ClassNames
from crosscue.knowledge.captions.prompts import MORE_SPECIFIC, SYSTEM, keep, words_for
from crosscue.knowledge.captions.prose import normalised
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.client import LanguageModel
from crosscue.knowledge.conversation import Picture, Turn
from crosscue.knowledge.failures import ReplyError

TRIES = 2
"""Most rewrites of one caption."""


def duplicate_groups(records: Sequence[CaptionRecord]) -> dict[str, list[CaptionRecord]]:
    """Returns normalised caption -> the records that share it, two or more.

    All splits are one set here: a caption that is in training and in test is a leak.
    """
    groups: dict[str, list[CaptionRecord]] = defaultdict(list)
    for record in records:
        if record.caption:
            groups[normalised(record.caption)].append(record)
    return {key: members for key, members in groups.items() if len(members) > 1}


def duplicate_counts(records: Sequence[CaptionRecord]) -> dict[str, int]:
    """Returns id -> how many pictures share its caption, for the records in groups."""
    return {record.id: len(members) for members in duplicate_groups(records).values() for record in members}


async def more_specific(
    record: CaptionRecord,
    shared_by: Mapping[str, int],
    picture: Picture,
    writer: LanguageModel,
    writing: Writing,
    names: ClassNames,
    token_count: TokenCount,
) -> CaptionRecord:
    """Returns a record of a group with a caption that says more, or as it was where the writer gives none that fits."""
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
        text = await writer.say((Turn("system", SYSTEM), Turn("user", question, (picture,))))
    except (ReplyError, DataError):
        return record
    return rewritten(record, text, writing, names, token_count) or record


def with_groups(records: Sequence[CaptionRecord]) -> list[CaptionRecord]:
    """Returns the records; those that still share a caption get its `dup_group` and the flag `duplicate`."""
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
