"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    """Returns a table; with `numbers` all columns but the first are aligned to the right."""
    rule = "|---|" + ("---:|" if numbers else "---|") * (len(heads) - 1)
    return "\n".join([_line(heads), rule, *map(_line, rows)])


def _line(texts: Sequence[str]) -> str:
    return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"
