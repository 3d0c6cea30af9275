"""crosscue describe triplets SOURCE: triplets of each caption and their visual states, for methods that learn from actions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crosscue.commands.knowledge_options import Target, reading_of, require_packages, with_model
from crosscue.commands.parser import options_parser
from crosscue.data.sources import Reading, read_pairs
from crosscue.knowledge.actions.record import ActionKnowledge

if TYPE_CHECKING:
    from crosscue.knowledge.actions.prompts import Requests
    from crosscue.knowledge.endpoint import Endpoint
    from crosscue.knowledge.limits import Limits


@dataclass(frozen=True)
class TripletsOptions:
    """Reader of the captions, and place of the result."""

    out: Path | None = None
    """A .jsonl file, or a folder for actions.jsonl. After an interruption the same command goes on."""
    backend: Literal["spacy", "openai", "local"] = "spacy"
    """Reader of the captions. `spacy`: spaCy's small English parser (crosscue[spacy]). `openai`: a language model behind any
    compatible endpoint. `local`: an instruct model in this process, through transformers."""
    split: str | None = None
    """Only the captions of this split. Default: all, because a search needs knowledge of the captions of the gallery too."""
    negatives: bool = False
    """Also describe the edited captions of the source. `crosscue evaluate --minimal_pairs` needs them."""
    cache: Path | None = None
    """SQLite file of the replies; default beside the result. The caps of --limits count everything in it."""


def run(arguments: list[str]) -> int:
    """Write the knowledge of every different caption of a source."""
    from crosscue.knowledge.actions.audit import audited
    from crosscue.knowledge.actions.prompts import BatchEndpoint, Requests
    from crosscue.knowledge.limits import Limits

    parser = options_parser(
        "describe triplets",
        "Writes the triplets of each caption and their visual states. Only the text of the caption is read.",
        (Reading, None),
        (TripletsOptions, None),
        (BatchEndpoint, "model"),
        (Requests, "requests"),
        (Limits, "limits"),
    )
    parser.add_argument("source", help="Any source of pairs.")
    given = parser.instantiate(parser.parse_args(arguments))
    target = Target.of(given.out, ActionKnowledge.FILE, given.cache)
    pairs = read_pairs(given.source, given.split, reading_of(given, text_only=True))
    edited = [negative.text for pair in pairs for negative in pair.negatives] if given.negatives else []
    captions = list(dict.fromkeys([*pairs.captions, *edited]))
    if given.backend == "spacy":
        knowledge = _parsed(captions)
    else:
        knowledge = _by_model(captions, given.backend, given.model, given.requests, given.limits, target)
    knowledge.save(target.file)
    report = audited(knowledge)
    sys.stdout.write(
        f"{target.file}: {report.summary()}\nnext: crosscue describe audit {target.file}\n"
        f"done: {report.captions:,} captions, {report.null:,} of them null\n"
    )
    return 0


def _parsed(captions: Sequence[str]) -> ActionKnowledge:
    from crosscue.knowledge.actions.parser import parsed_knowledge
    from crosscue.progress import track

    return ActionKnowledge(dict(track(parsed_knowledge(captions), "reading with spaCy", len(captions), "captions")))


def _by_model(
    captions: Sequence[str], backend: str, endpoint: Endpoint, requests: Requests, limits: Limits, target: Target
) -> ActionKnowledge:
    require_packages()
    from crosscue.knowledge.actions.writing import ActionWriter
    from crosscue.knowledge.language_model import LanguageModel, LocalModel

    async def work(model: LanguageModel) -> ActionKnowledge:
        writer = ActionWriter(model, requests)
        sys.stderr.write(f"{len(captions):,} captions: {writer.estimate(captions)}\n")
        knowledge = ActionKnowledge(await writer.knowledge(captions))
        wrong = ", ".join(f"{count:,} {what}" for what, count in sorted(writer.counts.items()) if count)
        sys.stdout.write(f"replies of this run: {wrong or 'nothing was wrong with them'}\n")
        return knowledge

    return with_model(LocalModel if backend == "local" else LanguageModel, endpoint, limits, target, work)
