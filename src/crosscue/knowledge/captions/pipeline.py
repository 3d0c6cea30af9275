"""Pipeline of all stages: draft, judge, clean, name, length, duplicates, review, negatives, pairs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crosscue.data import writing
from crosscue.data.negatives import NegativesConfig
from crosscue.data.pairs import ImageFile, Pair
from crosscue.errors import EndpointError
from crosscue.interruption import Interruption
from crosscue.knowledge.cache import ReplyCache, Spending
from crosscue.knowledge.captions.cleaning import cleaned
from crosscue.knowledge.captions.drafting import Writing, drafted
from crosscue.knowledge.captions.judging import Judging, TokenCount, judged, judged_again, sampled
from crosscue.knowledge.captions.naming import ClassNames, named
from crosscue.knowledge.captions.negatives import negated, negative_writer
from crosscue.knowledge.captions.prompts import TEMPLATES
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.captions.review import Decision, reviewed
from crosscue.knowledge.captions.rewriting import TRIES, duplicate_counts, more_specific, with_groups, within_length
from crosscue.knowledge.conversation import HashedImage
from crosscue.knowledge.endpoint import Endpoint
from crosscue.knowledge.language_model import LanguageModel
from crosscue.knowledge.limits import Limits, Meter
from crosscue.knowledge.stages import Stage, digest, run_stage

Work = Callable[[CaptionRecord], Awaitable[CaptionRecord]]


@dataclass(frozen=True)
class Recipe:
    """Everything that captions depend on, beside the images."""

    writer: Endpoint
    judge: Endpoint | None = None
    """Best of another family than the writer. None: no judging."""
    second_judge: Endpoint | None = None
    """Scores a small sample, to measure the agreement of two judges."""
    writing: Writing = field(default_factory=Writing)
    judging: Judging = field(default_factory=Judging)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)

    def provenance(self) -> dict[str, Any]:
        """Returns the provenance of every record, without addresses and keys."""
        models = {"writer": self.writer, "judge": self.judge, "second_judge": self.second_judge}
        return {
            **{role: endpoint.provenance() if endpoint is not None else None for role, endpoint in models.items()},
            "writing": asdict(self.writing),
            "judging": asdict(self.judging),
            "prompts": digest(TEMPLATES),
            "version": version("crosscue"),
        }


@dataclass(frozen=True)
class Described:
    """Finished records, and the spending."""

    records: list[CaptionRecord]
    spent: Spending
    """Spending of this run."""
    spent_before: Spending
    """Spending of earlier runs on the same cache."""
    replayed: int
    """Replies from the cache."""
    retried: int
    """Repetitions of requests."""


async def describe(
    records: Sequence[CaptionRecord],
    images: Mapping[str, HashedImage],
    folder: Path,
    recipe: Recipe,
    *,
    token_count: TokenCount,
    limits: Limits | None = None,
    cache: Path | None = None,
    decisions: Mapping[str, Decision] | None = None,
    stopping: Interruption | None = None,
) -> Described:
    """Run the stages from the draft to the negatives. Each writes `folder`/stages/<number>-<name>.jsonl.

    Every reply is kept in `cache` (default `folder`/replies.sqlite) before it is used. A second run in the same folder skips
    finished records and takes repeated requests from the cache.

    Args:
        records: from `begin_records`.
        images: image of each record id.
        folder: output folder.
        recipe: models and options.
        token_count: returns the number of tokens of a caption.
        limits: caps over all runs on the cache.
        cache: the SQLite file of replies.
        decisions: decisions of a person, by id.
        stopping: flag that is set by Ctrl-C.

    Raises:
        EndpointError, LimitReached, Interrupted, Unanswered: the run stopped; everything so far is kept.
    """
    limits = limits or Limits()
    writing, judging = recipe.writing, recipe.judging
    endpoints = [endpoint for endpoint in (recipe.writer, recipe.judge, recipe.second_judge) if endpoint is not None]
    limits.require_prices(*endpoints)
    if judging.rounds > 0 and recipe.judge is None:
        raise EndpointError(
            "there is no judge. Give --judge.base_url and --judge.model, or --judging.rounds 0 to do without."
        )
    replies = ReplyCache(cache or folder / "replies.sqlite")
    meter = Meter(limits, replies.spent(), stopping)
    names = ClassNames(records)
    known_names = digest(names.forms)
    workers = sum(endpoint.concurrency for endpoint in endpoints)
    stages = folder / "stages"
    current = list(records)
    async with AsyncExitStack() as stack:

        async def opened(endpoint: Endpoint, role: str) -> LanguageModel:
            return await stack.enter_async_context(LanguageModel(endpoint, replies, meter, role))

        async def through(name: str, doing: str, work: Work, made_with: Any = None) -> None:
            nonlocal current
            stage = Stage(name, doing, work, made_with)
            current = await run_stage(stage, current, CaptionRecord, stages, workers)

        stack.callback(replies.close)
        writer = await opened(recipe.writer, "writer")
        opened_models = [writer]
        await through("1-draft", "drafting captions", lambda r: drafted(r, images[r.id], writer, writing))
        if recipe.judge is not None and judging.rounds > 0:
            judge = await opened(recipe.judge, "judge")
            opened_models.append(judge)
            await through(
                "2-judge",
                "judging captions",
                lambda r: judged(r, images[r.id], judge, writing, judging, names, token_count),
                known_names,
            )
        if recipe.second_judge is not None and judging.rounds > 0:
            second = await opened(recipe.second_judge, "second_judge")
            opened_models.append(second)

            async def again(record: CaptionRecord) -> CaptionRecord:
                if not sampled(record.id, judging.second_share, "second judge"):
                    return record
                return await judged_again(record, images[record.id], second, writer, writing, token_count)

            await through("3-second-judge", "judging a sample again", again)
        await through("4-clean", "cleaning captions", _pure(cleaned))
        await through("5-name", "naming classes", _pure(lambda r: named(r, names)), known_names)
        await through(
            "6-length", "fitting lengths", lambda r: within_length(r, writer, writing, names, token_count), known_names
        )
        for attempt in range(1, TRIES + 1):
            shared = duplicate_counts(current)
            await through(
                f"7-duplicates-{attempt}",
                "telling equal captions apart",
                lambda r, shared=shared: more_specific(  # type: ignore[misc]
                    r, shared, images[r.id], writer, writing, names, token_count
                ),
                [known_names, shared],
            )
        current = with_groups(current)
        decided = decisions or {}
        await through(
            "8-review",
            "taking over decisions",
            _pure(lambda r: reviewed(r, decided, writing, token_count)),
            {identity: asdict(decision) for identity, decision in decided.items()},
        )
        negatives = negative_writer(current, recipe.negatives, token_count, writing.max_tokens)
        await through(
            "9-negatives",
            "writing negatives",
            _pure(lambda r: negated(r, negatives)),
            [asdict(recipe.negatives), digest([record.caption for record in current])],
        )
    return Described(
        records=current,
        spent=meter.now(),
        spent_before=meter.before,
        replayed=sum(model.replayed for model in opened_models),
        retried=sum(model.retried for model in opened_models),
    )


def write_pairs(path: Path, records: Sequence[CaptionRecord]) -> int:
    """Write the pairs that `crosscue data check` and `crosscue adapt` read, without the records that have no caption."""
    pairs = (
        Pair(
            image=ImageFile(path.parent / record.image_path),
            captions=(record.caption,),
            image_id=record.id,
            category=record.class_name,
            negatives=record.negatives,
            split=record.split,
        )
        for record in records
        if record.caption
    )
    return writing.write_pairs(path, pairs)


def _pure(function: Callable[[CaptionRecord], CaptionRecord]) -> Work:
    async def work(record: CaptionRecord) -> CaptionRecord:
        return function(record)

    return work
