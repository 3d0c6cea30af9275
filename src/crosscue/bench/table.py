"""A table of a page: numbers in lines, with a figure where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from crosscue.bench.grid import Shots


@dataclass(frozen=True)
class Number:
    """One entry of a table."""

    text: str
    best: bool = False
    note: str = ""
    """The difference to the best other row."""


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    label: str
    numbers: list[Number]
    note: str = ""
    """Settings that validation chose."""


@dataclass(frozen=True)
class Table:
    """A table with its title and protocol."""

    title: str
    about: str
    heads: list[str]
    lines: list[Line]
    domain: str | None = None
    curve: str | None = None
    """A figure as SVG: R@1 over shots with the first table of a domain, by domain with an overview, or over two options."""
    file: str = ""
    """Name of the file of the figure."""


def in_words(shots: Shots) -> str:
    """Returns 16 shots, or all training pairs."""
    return "all training pairs" if shots == "all" else f"{shots} shot{'s' if shots != 1 else ''}"
