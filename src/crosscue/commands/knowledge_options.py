"""Options and steps that all kinds of knowledge share: place of the results, and a model with its cache."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crosscue.commands.parser import taken
from crosscue.data.sources import Reading
from crosscue.errors import CrosscueError, DataError

if TYPE_CHECKING:
    from crosscue.interruption import Interruption
    from crosscue.knowledge.endpoint import Endpoint
    from crosscue.knowledge.language_model import LanguageModel
    from crosscue.knowledge.limits import Limits

Result = TypeVar("Result")


@dataclass(frozen=True)
class Target:
    """Files of the knowledge and of the replies of a model."""

    file: Path
    replies: Path

    @classmethod
    def of(cls, out: Path | None, name: str, cache: Path | None) -> Target:
        """Returns the files for `--out`: a .jsonl file, or a folder for a file called `name`.

        Raises:
            DataError: no --out.
        """
        if out is None:
            raise DataError(f"there is no output file. Add --out FILE.jsonl, or --out FOLDER for FOLDER/{name}.")
        if out.suffix == ".jsonl":
            return cls(out, cache or out.with_suffix(".replies.sqlite"))
        return cls(out / name, cache or out / "replies.sqlite")


def reading_of(given: Any, *, text_only: bool = False) -> Reading:
    """Returns the options of reading a source. Missing images are kept if only text is read."""
    reading = taken(given, Reading)
    return replace(reading, missing="keep") if text_only and reading.missing == "error" else reading


def require_packages() -> None:
    """Raises `CrosscueError` if the packages for language models are not installed."""
    try:
        import openai  # noqa: F401
        import pydantic  # noqa: F401
    except ImportError as error:
        raise CrosscueError(f"describe needs {error.name}. Install it: pip install 'crosscue[knowledge]'") from error


def with_model(
    kind: type[LanguageModel],
    endpoint: Endpoint,
    limits: Limits,
    target: Target,
    work: Callable[[LanguageModel], Awaitable[Result]],
) -> Result:
    """Returns the result of `work` with a model, alone in the target's folder, and prints the spending."""
    from crosscue.interruption import interruption
    from crosscue.knowledge.cache import ReplyCache
    from crosscue.knowledge.limits import Meter
    from crosscue.locks import sole_run

    limits.require_prices(endpoint)

    async def go(stopping: Interruption) -> Result:
        replies = ReplyCache(target.replies)
        with contextlib.closing(replies):
            meter = Meter(limits, replies.spent(), stopping)
            async with kind(endpoint, replies, meter) as model:
                result = await work(model)
        now, total = meter.now(), meter.spent
        sys.stdout.write(
            f"calls: {now.calls:,} now ({model.replayed:,} replies were kept from before, {model.retried:,} repetitions), "
            f"{total.calls:,} in all, {total.input_tokens:,} + {total.output_tokens:,} tokens, cost {total.cost:.4f}\n"
        )
        return result

    with sole_run(target.file.parent), interruption() as stopping:
        return asyncio.run(go(stopping))
