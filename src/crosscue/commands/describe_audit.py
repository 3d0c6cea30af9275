"""crosscue describe audit FILE: what a file of action knowledge covers, with samples, and how it differs from another."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser
from crosscue.knowledge.actions.audit import audited, disagreement, samples, shown
from crosscue.knowledge.actions.record import ActionKnowledge


@dataclass(frozen=True)
class AuditOptions:
    """What is looked at."""

    against: Path | None = None
    """Another file of the same captions, e.g. of another backend: how far the two disagree."""
    show: int = 5
    """Captions to show with all that is known about them."""
    json: Path | None = None
    """Write the counts here as JSON."""


def run(arguments: list[str]) -> int:
    """Prints the audit."""
    parser = options_parser("describe audit", "Counts what a file of triplets and states covers.", (AuditOptions, None))
    parser.add_argument("file", help="A file that `describe triplets` wrote, or its folder.")
    given = parser.instantiate(parser.parse_args(arguments))
    knowledge = ActionKnowledge.load(Path(given.file))
    report = audited(knowledge)
    lines = [*report.lines(), ""]
    counts = {**asdict(report), "coverage": report.coverage, "fallback_rate": report.fallback_rate}
    for caption in samples(knowledge, given.show):
        lines += shown(caption, knowledge[caption])
    if given.against is not None:
        other = ActionKnowledge.load(given.against)
        difference = disagreement(knowledge, other, given.show)
        lines += ["", f"against {given.against}: {audited(other).summary()}", *difference.lines(), ""]
        for caption in difference.most:
            lines += [*shown(caption, knowledge[caption]), *shown(caption, other[caption])[1:]]
        counts["disagreement"] = asdict(difference)
    sys.stdout.write("\n".join(lines) + "\n")
    if given.json is not None:
        from crosscue.storage import write_json

        write_json(given.json, counts)
    return 0
