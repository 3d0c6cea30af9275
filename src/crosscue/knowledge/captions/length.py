"""Captions within the text tower's length: last sentences go first, then the writer is asked to compress."""

from __future__ import annotations

from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.judging import TokenCount
from crosscue.knowledge.captions.naming import ClassNames, named, names_class
from crosscue.knowledge.captions.noise import cleaned
from crosscue.knowledge.captions.prompts import SHORTER, SYSTEM, keep, words_for
from crosscue.knowledge.captions.prose import sentences
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.client import LanguageModel
from crosscue.knowledge.conversation import Turn
from crosscue.knowledge.failures import ReplyError


def shortened(record: CaptionRecord, max_tokens: int, token_count: TokenCount) -> CaptionRecord:
    """Returns the record without as many last sentences as it takes.

    The class stays, and so does the first sentence (after ``A photo of a <class>.`` the one behind it too). Where that is not enough the whole caption is kept. `n_tokens` is counted.
    """
    kept, fewest = sentences(record.caption), 2 if "prefixed" in record.flags else 1
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

    A caption that neither dropping sentences nor the writer makes short enough stays as it is and is flagged `too_long`.
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
    """Returns the record with a writer's new text, cleaned, named and within the length; None where that cannot be."""
    candidate = cleaned(record.with_caption(text))
    if "refused" in candidate.flags or token_count(candidate.caption) < writing.min_tokens:
        return None
    candidate = shortened(named(candidate, names), writing.max_tokens, token_count)
    return candidate if candidate.n_tokens <= writing.max_tokens else None
