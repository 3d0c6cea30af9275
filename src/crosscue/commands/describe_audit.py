"""crosscue describe audit FILE: coverage of a file of action knowledge, samples, and its difference from another file."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser
from crosscue.knowledge.actions.audit import audited, disagreement, samples, shown
from crosscue.knowledge.actions.record import ActionKnowledge


@dataclass(frozen=True)
class AuditOptions:
    """Options of the audit."""

    against: Path | None = None
    """Another file of the same captions, e.g. of another backend, to compare with."""
    show: int = 5
    """Number of captions that are shown with their knowledge."""
    json: Path | None = None
    """JSON file for the counts."""


def run(arguments: list[str]) -> int:
    """Print the audit."""
    parser = options_parser(
        "describe audit", "Counts the captions, triplets and states of a file.", (AuditOptions, None)
    )
    parser.add_argument("file", help="File of `describe triplets`, or its folder.")
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
