"""Many things asked about in batches, each answer kept by itself: a later run asks only for what is new."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from crosscue.knowledge.cache import ReplyCache
from crosscue.knowledge.limits import Meter
from crosscue.knowledge.stages import Job, work_through
from crosscue.progress import progress

Ask = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Names of things -> the answer about each, as JSON."""


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

    What is pending is cut into batches in a fixed order, and the answers of a batch are kept together, so a run that was
    killed asks the same batches again and finds their raw replies.

    Args:
        keys: name of a thing -> what its answer depends on, e.g. a digest of model, prompt version and text.
        ask: asks about one batch.
        cache: where answers are kept.
        meter: says what was spent, for the progress bar.
        batch: things in one batch.
        workers: batches asked about at once.
        doing: what the progress bar says.
        unit: what the things are.

    Raises:
        CrosscueError: see `work_through`; what was answered is kept.
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
