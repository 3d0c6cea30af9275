"""Cells of a grid with hits that are given query by query."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from crosscue.bench.cells import Cell
from crosscue.bench.grid import Row
from crosscue.bench.jobs import Training
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.recall import recall
from crosscue.evaluation.result import Retrieval

QUERIES = 40


def result(found: list[bool]) -> Retrieval:
    """Returns a result in which the first place holds the partner of every query that is `found`, in both directions."""
    ranks = Ranks(np.where(found, 0, 20), np.ones(QUERIES, int), np.ones(QUERIES, int))
    found_recall = recall(ranks)
    return Retrieval(found_recall, found_recall, {"i2t": ranks, "t2i": ranks}, np.arange(QUERIES), {})


def cell(label: str, *found: list[bool], steps: int = 10) -> Cell:
    """Returns a cell with one seed for each list of hits."""
    results = {seed: result(hits) for seed, hits in enumerate(found, start=1)}
    trainings = {seed: Training(steps, 1, 5, None, None) for seed in results}
    return Cell(Row("dcar", label), SimpleNamespace(name="a"), 16, results, trainings, {}, None, {})


def with_captions(one: Cell, captions: int) -> Cell:
    """Returns the cell with so many neighbouring caption queries for each image."""
    owner = np.arange(QUERIES) // captions
    return replace(one, results={seed: replace(found, owner=owner) for seed, found in one.results.items()})


def first(count: int) -> list[bool]:
    """Returns hits at the first `count` queries."""
    return [query < count for query in range(QUERIES)]
