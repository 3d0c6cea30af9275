"""Review by a person: a CSV of flagged and a few random captions, and the decisions in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosscue.errors import DataError
from crosscue.knowledge.captions.cleaning import spaced
from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.judging import TokenCount, sampled
from crosscue.knowledge.captions.naming import names_class
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.source_files import read_text
from crosscue.storage import write_text

COLUMNS = ("id", "image", "class", "split", "flags", "caption", "decision", "new_caption")
DECISIONS = ("keep", "edit", "drop")


@dataclass(frozen=True)
class Decision:
    """Decision of a person about one caption."""

    decision: str
    """`keep`, `edit` or `drop`."""
    new_caption: str = ""
    """New caption, for `edit`."""


def read_decisions(path: Path, known: set[str]) -> dict[str, Decision]:
    """Reads the decisions in the CSV; rows without one are left out.

    Raises:
        DataError: a column is missing, an id is unknown, or a decision is unknown; the message contains the line.
    """
    if not path.exists():
        return {}
    text = read_text(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # a spreadsheet may save with semicolons or tabs
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = {"id", "decision", "new_caption"} - set(table.fieldnames or ())
    if missing:
        raise DataError(f"{path}: column '{min(missing)}' is missing. Keep the header line as it was written.")
    found: dict[str, Decision] = {}
    for row in table:
        where = f"{path} line {table.line_num}"
        decision, new = (row["decision"] or "").strip().lower(), (row["new_caption"] or "").strip()
        if not decision and not new:
            continue
        if row["id"] not in known:
            raise DataError(f"{where}: there is no image '{row['id']}'. Leave the column id as it was written.")
        if decision not in DECISIONS:
            raise DataError(f"{where}: decision '{decision}' is none of {', '.join(DECISIONS)}.")
        if decision == "edit" and not new:
            raise DataError(f"{where}: decision edit needs a new_caption.")
        found[row["id"]] = Decision(decision, new if decision == "edit" else "")
    return found


def write_queue(path: Path, records: Sequence[CaptionRecord], decisions: Mapping[str, Decision], share: float) -> int:
    """Writes the flagged records and a random `share` of the others, with the decisions so far; returns their number."""
    queue = [
        record for record in records if record.flags or record.id in decisions or sampled(record.id, share, "review")
    ]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in queue:
        decided = decisions.get(record.id, Decision(""))
        writer.writerow(
            (
                record.id,
                record.image_path,
                record.class_name or "",
                record.split or "",
                " ".join(record.flags),
                record.caption,
                decided.decision,
                decided.new_caption,
            )
        )
    write_text(path, table.getvalue())
    return len(queue)


def reviewed(
    record: CaptionRecord, decisions: Mapping[str, Decision], writing: Writing, token_count: TokenCount
) -> CaptionRecord:
    """Returns the record as decided: without its flags, with the new caption, or without a caption (flag `dropped`).

    Only the spacing of a new caption is changed. Its faults get the flags `class_missing` and `too_long`.
    """
    decided = decisions.get(record.id)
    if decided is None:
        return record
    if decided.decision == "drop":
        return record.with_caption("").flagged("dropped")
    caption = spaced(decided.new_caption) if decided.decision == "edit" else record.caption
    tokens = token_count(caption) if caption else 0
    record = record.model_copy(update={"caption": caption, "n_tokens": tokens, "flags": ()})
    flags = [] if caption else ["empty"]
    if caption and not names_class(record):
        flags.append("class_missing")
    if tokens > writing.max_tokens:
        flags.append("too_long")
    return record.flagged(*flags)
