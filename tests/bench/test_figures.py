"""Figures of a page: R@1 by domain, and over the two options that a row varies."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from crosscue.bench.grid import Grid, Row
from crosscue.bench.option_tables import options_tables
from crosscue.bench.tables import overview
from tests.bench.cells import cell, first

VARIED = Row("dcar", "DCAR", vary={"lambda1": [0.2, 0.8], "lambda2": [0.1, 0.2, 0.4]})


def results_of(grid: Grid, hits: dict[tuple[str, str], int]) -> Any:
    domains = [SimpleNamespace(name=name) for name in dict.fromkeys(domain for _, domain in hits)]
    cells = {key: cell(key[0], first(count)) for key, count in hits.items()}
    rows = [Row("dcar", label) for label in dict.fromkeys(label for label, _ in hits)]
    return SimpleNamespace(grid=grid, domains=domains, rows=rows, cell=lambda *key: cells.get(key[:2]))


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_two_varied_options_become_a_heat_map_of_means_over_domains() -> None:
    labels = [row.label for row in VARIED.expanded()]
    hits = {
        (label, domain): 4 * place + extra
        for place, label in enumerate(labels)
        for domain, extra in (("a", 0), ("b", 4))
    }
    (table,) = options_tables(results_of(Grid(rows=[VARIED]), hits))
    assert table.heads == ["lambda2=0.1", "lambda2=0.2", "lambda2=0.4"]
    assert [line.label for line in table.lines] == ["lambda1=0.2", "lambda1=0.8"]
    means = [f"{100 * (4 * place + 2) / 40:.1f}" for place in range(6)]
    assert [n.text for line in table.lines for n in line.numbers] == [f"{mean} / {mean}" for mean in means]
    assert table.curve is not None
    assert [text for text in texts(table.curve) if text in means] == [*means, *means]  # a panel for each direction
    assert table.file == "options-lambda1-lambda2-16.svg"


def test_a_missing_cell_or_another_number_of_options_has_no_heat_map() -> None:
    hits = {(row.label, "a"): 4 for row in VARIED.expanded()[1:]} | {("other", "a"): 4}
    assert list(options_tables(results_of(Grid(rows=[VARIED]), hits))) == []
    assert list(options_tables(results_of(Grid(rows=[replace(VARIED, vary={"lambda1": [1]})]), hits))) == []


def test_rows_stand_beside_each_other_by_domain() -> None:
    hits = {("CLIP", "pets"): 10, ("CLIP", "cars"): 20, ("DCAR", "pets"): 30}
    table = overview(results_of(Grid(), hits), 16)
    assert table.curve is not None
    assert {"pets", "cars", "CLIP", "DCAR"} <= set(texts(table.curve))
    assert table.file == "domains-16.svg"
    assert [number.text for number in table.lines[1].numbers] == ["75.0 / 75.0", "failed", ""]
