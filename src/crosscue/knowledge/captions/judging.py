"""Judging: another model compares the caption with the image, scores it and revises it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, Field

from crosscue.data.wording import mentions
from crosscue.errors import DataError
from crosscue.knowledge.captions.cleaning import normalised
from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.naming import ClassNames
from crosscue.knowledge.captions.prompts import JUDGE, JUDGE_SYSTEM, SYSTEM, WITHOUT, words_for
from crosscue.knowledge.captions.record import CaptionRecord, Round
from crosscue.knowledge.conversation import HashedImage, Turn
from crosscue.knowledge.failures import ReplyError
from crosscue.knowledge.language_model import LanguageModel
from crosscue.knowledge.replies import refuses

TokenCount = Callable[[str], int]
"""Text -> its number of tokens."""


class Verdict(BaseModel):
    """Reply of a judge."""

    faithfulness: int = Field(ge=1, le=5)
    coverage: int = Field(ge=1, le=5)
    fluency: int = Field(ge=1, le=5)
    hallucinations: list[str]
    missing: list[str]
    revised: str


@dataclass(frozen=True)
class Judging:
    """Options of judging."""

    rounds: int = 3
    """Most judgements of one caption. 0: no judge."""
    second_share: float = 0.02
    """Share of the captions for the second judge, if there is one. Raise it for a better estimate of agreement."""


async def judged(
    record: CaptionRecord,
    image: HashedImage,
    judge: LanguageModel,
    writing: Writing,
    judging: Judging,
    names: ClassNames,
    token_count: TokenCount,
) -> CaptionRecord:
    """Returns the record with the best-scoring of at most `judging.rounds` texts.

    A text is good if its smallest score is 4 or more and nothing in it is invented. Otherwise the judge's revision is judged
    next, unless `objection` rejects it. Flags: `judge_refused`, `judge_malformed`, `low_score` if the best text is not good.
    """
    if not record.caption:
        return record
    text, rounds, seen = record.caption, list(record.rounds), {normalised(record.caption)}
    flags: set[str] = set()
    for _ in range(judging.rounds):
        try:
            verdict = await judge.ask(_question(text, image, writing), Verdict)
        except ReplyError as error:
            flags.add(f"judge_{error.flag}")
            break
        except DataError:
            flags.add("unreadable")
            break
        entry = _round(judge, text, verdict)
        revised = " ".join(verdict.revised.split())
        outcome = "accepted" if entry.good else objection(text, revised, record, seen, writing, names, token_count)
        rounds.append(entry.model_copy(update={"outcome": outcome or "revised"}))
        if outcome:
            break
        seen.add(normalised(revised))
        text = revised
    own = [entry for entry in rounds if entry.judge == judge.endpoint.model]
    if own:
        best = max(own, key=lambda entry: (entry.good, entry.score, -len(entry.hallucinations), _total(entry)))
        text = best.text
        if not best.good:
            flags.add("low_score")
    else:
        text = record.caption
    return record.model_copy(update={"caption": text, "rounds": tuple(rounds)}).flagged(*flags)


def objection(
    text: str,
    revised: str,
    record: CaptionRecord,
    seen: set[str],
    writing: Writing,
    names: ClassNames,
    token_count: TokenCount,
) -> str:
    """Returns the reason against a revision: length, another class, a repetition, a refusal; empty if there is none."""
    if normalised(revised) in seen:
        return "rejected: repeats an earlier text"
    tokens = token_count(revised)
    if tokens < writing.min_tokens:
        return f"rejected: {tokens} tokens are fewer than {writing.min_tokens}"
    if tokens > writing.max_tokens:
        return f"rejected: {tokens} tokens are more than {writing.max_tokens}"
    if refuses(revised):
        return "rejected: a refusal"
    if record.class_name is not None:
        others = names.others(record)
        new = {mention.name for mention in mentions(revised, others)} - {m.name for m in mentions(text, others)}
        if new:
            return f"rejected: names another class ({', '.join(sorted(new))})"
    return ""


async def judged_again(
    record: CaptionRecord,
    image: HashedImage,
    second: LanguageModel,
    writer: LanguageModel,
    writing: Writing,
    token_count: TokenCount,
) -> CaptionRecord:
    """Returns the record with the round of the second judge. The writer removes words that both judges call invented.

    Flags: `second_judge_refused`, `second_judge_malformed`, and `hallucination` if the rewrite did not help.
    """
    first = next((entry for entry in reversed(record.rounds) if entry.text == record.caption), None)
    if first is None:
        return record
    try:
        verdict = await second.ask(_question(record.caption, image, writing), Verdict)
    except ReplyError as error:
        return record.flagged(f"second_judge_{error.flag}")
    except DataError:
        return record.flagged("unreadable")
    entry = _round(second, record.caption, verdict)
    entry = entry.model_copy(update={"outcome": f"second: {'accepted' if entry.good else 'second judge'}"})
    record = record.model_copy(update={"rounds": (*record.rounds, entry)})
    spans = common_spans(first.hallucinations, verdict.hallucinations, record.caption)
    if not spans:
        return record
    question = WITHOUT.format(caption=record.caption, spans=", ".join(f"'{span}'" for span in spans))
    try:
        text = " ".join((await writer.say((Turn("system", SYSTEM), Turn("user", question)))).split())
    except ReplyError:
        return record.flagged("hallucination")
    gone = not any(normalised(span) in normalised(text) for span in spans)
    if not gone or not writing.min_tokens <= token_count(text) <= writing.max_tokens:
        return record.flagged("hallucination")
    return record.with_caption(text).unflagged("low_score")


def common_spans(first: tuple[str, ...], second: list[str], caption: str) -> list[str]:
    """Returns the spans that both judges call invented. Of two spans, one within the other, the shorter counts."""
    spans: dict[str, str] = {}
    for one in first:
        for other in second:
            a, b = normalised(one), normalised(other)
            if a and b and (f" {a} " in f" {b} " or f" {b} " in f" {a} "):
                span = one if len(a) <= len(b) else other
                if normalised(span) in normalised(caption):
                    spans[normalised(span)] = span
    return [spans[key] for key in sorted(spans)]


def sampled(record_id: str, share: float, purpose: str) -> bool:
    """Returns true for the records of a fixed random sample of about `share` of all, drawn by the id alone."""
    value = int(hashlib.sha256(f"{purpose} {record_id}".encode()).hexdigest()[:12], 16)
    return value < share * 16**12


def _question(text: str, image: HashedImage, writing: Writing) -> tuple[Turn, ...]:
    words = words_for(writing.max_tokens)
    return Turn("system", JUDGE_SYSTEM), Turn("user", JUDGE.format(caption=text, words=words), (image,))


def _round(judge: LanguageModel, text: str, verdict: Verdict) -> Round:
    return Round(
        judge=judge.endpoint.model,
        text=text,
        faithfulness=verdict.faithfulness,
        coverage=verdict.coverage,
        fluency=verdict.fluency,
        hallucinations=tuple(span for span in verdict.hallucinations if span.strip()),
        missing=tuple(verdict.missing),
        outcome="",
    )


def _total(entry: Round) -> int:
    return entry.faithfulness + entry.coverage + entry.fluency
