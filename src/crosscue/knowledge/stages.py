"""Resumable work: stages over records, and questions in batches. Finished results are kept for a later run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from crosscue.errors import CrosscueError
from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.failures import Unanswered
from crosscue.knowledge.limits import Meter
from crosscue.progress import progress
from crosscue.storage import json_line, write_text, writing

PATIENCE = 5
"""Requests in a row without an answer after which a stage stops: the server is down."""
Job = Callable[[], Awaitable[None]]
"""Sends one request and keeps the result."""
Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Names of items -> the answer about each, as JSON."""

Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True)
class Stage(Generic[Record]):
    """One step of a pipeline over records."""

    name: str
    """Name of its file, without the suffix."""
    doing: str
    """Title of the progress bar, e.g. `drafting captions`."""
    work: Callable[[Record], Awaitable[Record]]
    """Makes the record of this stage from the record of the stage before."""
    made_with: Any = None
    """Everything else that its results depend on (models, prompts, options), as plain types. A new value repeats the work."""


async def run_stage(
    stage: Stage[Record], records: Sequence[Record], kind: type[Record], folder: Path, workers: int
) -> list[Record]:
    """Returns `stage.work` of every record, in their order, and writes them to `folder`/`stage.name`.jsonl.

    A result is appended as soon as it is there. At the end the file is written again in the order of the records. So it
    depends neither on the order of the replies nor on interruptions.

    Args:
        stage: name and work.
        records: results of the stage before; each has an `id`.
        kind: their class.
        folder: folder of the stages' files.
        workers: records worked on at once.

    Raises:
        Unanswered: some records got no answer; the others are kept.
        CrosscueError: any other error stops the work; finished results are kept.
    """
    path = folder / f"{stage.name}.jsonl"
    kept = _read(path, kind)
    results: dict[str, Record] = {}
    pending: list[tuple[Record, str]] = []
    for record in records:
        made_from = digest(record.model_dump(mode="json"), stage.made_with)
        known = kept.get(_id(record))
        if known is not None and known[0] == made_from:
            results[_id(record)] = known[1]
        else:
            pending.append((record, made_from))
    made = {identity: made_from for identity, (made_from, _) in kept.items() if identity in results}
    if pending:
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            whole = "".join(_line(made[identity], record) for identity, record in results.items())
            write_text(path, whole)  # drops half a line and results that are out of date
            with path.open("a", encoding="utf-8") as file, progress(stage.doing, len(pending), "records") as advance:

                def finished(record: Record, made_from: str) -> None:
                    results[_id(record)], made[_id(record)] = record, made_from
                    file.write(_line(made_from, record))
                    file.flush()
                    advance(1)

                def job(record: Record, made_from: str) -> Job:
                    async def work() -> None:
                        finished(await stage.work(record), made_from)

                    return work

                jobs = [(_id(record), job(record, made_from)) for record, made_from in pending]
                await work_through(jobs, stage.doing, "records", workers)
    ordered = [results[_id(record)] for record in records]
    text = "".join(_line(made[_id(record)], record) for record in ordered)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return ordered


async def work_through(jobs: Iterable[tuple[str, Job]], doing: str, unit: str, workers: int) -> None:
    """Run (name, job) pairs, `workers` at once. The first error is raised after the work under way has ended.

    Raises:
        Unanswered: some jobs got no answer, after all others were done, or as soon as 5 in a row did not.
        CrosscueError: any other error stops the work.
    """
    waiting = iter(jobs)
    stopped: list[CrosscueError] = []
    unanswered: list[tuple[str, Unanswered]] = []
    in_a_row = 0

    async def worker() -> None:
        nonlocal in_a_row
        for name, job in waiting:
            try:
                await job()
            except Unanswered as error:
                unanswered.append((name, error))
                in_a_row += 1
                if in_a_row >= PATIENCE:
                    stopped.append(error)
            except CrosscueError as error:
                stopped.append(error)
            else:
                in_a_row = 0
            if stopped:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(max(workers, 1)):
            group.create_task(worker())
    if stopped:
        raise stopped[0]
    if unanswered:
        names = ", ".join(name for name, _ in unanswered[:3])
        raise Unanswered(
            f"{len(unanswered):,} {unit} got no answer while {doing} ({names}): {unanswered[0][1]} All others are kept; "
            "run the same command again for these."
        )


def digest(*values: Any) -> str:
    """Returns a short SHA-256 over plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _read(path: Path, kind: type[Record]) -> dict[str, tuple[str, Record]]:
    """Returns id -> (digest of its input, record). Unfinished lines of a killed process are no result."""
    found: dict[str, tuple[str, Record]] = {}
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            made_from = str(values.pop("made_from"))
            record = kind.model_validate(values)
        except (ValueError, KeyError, AttributeError, TypeError, ValidationError):
            continue
        found[_id(record)] = (made_from, record)
    return found


def _line(made_from: str, record: BaseModel) -> str:
    return json_line({"made_from": made_from, **record.model_dump(mode="json")})


def _id(record: Any) -> str:
    return str(record.id)


async def answers_for(
    keys: Mapping[str, str],
    ask: Ask,
    cache: ReplyCache,
    meter: Meter,
    *,
    batch: int,
    workers: int,
    doing: str,
    unit: str,
) -> dict[str, str]:
    """Returns name -> answer for every name, in their order.

    Pending names are cut into batches in a fixed order, and the answers of a batch are kept together. So a run after a
    kill sends the same batches again and finds their raw replies in the cache.

    Args:
        keys: name of an item -> digest of everything that its answer depends on: model, prompts and text.
        ask: returns the answers about one batch.
        cache: answers of earlier runs.
        meter: cost so far, for the progress bar.
        batch: items in one batch.
        workers: batches under way at once.
        doing: title of the progress bar.
        unit: name of the items.

    Raises:
        CrosscueError: see `work_through`; answers so far are kept.
    """
    kept = cache.answers(keys.values())
    pending = [name for name, key in keys.items() if key not in kept]
    if pending:
        with progress(doing, len(pending), unit, lambda: f"cost {meter.now().cost:.4f}") as advance:

            def job(names: Sequence[str]) -> Job:
                async def work() -> None:
                    answers = await ask(names)
                    found = {keys[name]: answers[name] for name in names}
                    cache.keep(found)
                    kept.update(found)
                    advance(len(names))

                return work

            batches = [pending[start : start + batch] for start in range(0, len(pending), batch)]
            await work_through([(names[0][:40], job(names)) for names in batches], doing, "batches", workers)
    return {name: kept[key] for name, key in keys.items()}
