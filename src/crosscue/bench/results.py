"""The results of a grid: results.json, which is the same on every run, and timings.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crosscue.bench.cells import Cell
from crosscue.bench.domains import Domain
from crosscue.bench.grid import Grid, Row, Shots
from crosscue.bench.jobs import Towers
from crosscue.bench.running import Failure
from crosscue.bench.significance import Tested, Verdict, tested, verdicts
from crosscue.evaluation.result import Retrieval
from crosscue.storage import write_json


@dataclass(frozen=True)
class Results:
    """The measured cells of a grid with their protocol."""

    grid: Grid
    domains: list[Domain]
    towers: Towers
    cells: list[Cell]
    failures: list[Failure]

    @cached_property
    def rows(self) -> list[Row]:
        """The rows with a result."""
        return [row for row in self.grid.lines() if any(cell.row.label == row.label for cell in self.cells)]

    def cell(self, label: str, domain: str, shots: Shots) -> Cell | None:
        """Returns one cell, or None where its jobs failed."""
        key = (label, domain, shots)
        return next((c for c in self.cells if (c.row.label, c.domain.name, c.shots) == key), None)

    def tables(self) -> Iterator[tuple[Domain, Shots, list[Cell]]]:
        """Yields the rows of every domain and number of shots that has any."""
        for domain in self.domains:
            for shots in self.grid.shots:
                cells = [c for c in self.cells if c.domain.name == domain.name and c.shots == shots]
                if cells:
                    yield domain, shots, cells

    @cached_property
    def verdicts(self) -> dict[tuple[str, Shots], dict[tuple[str, str, int], Verdict]]:
        """(domain, shots) -> the rows against the best other row."""
        return {(domain.name, shots): verdicts(cells) for domain, shots, cells in self.tables()}

    @cached_property
    def claims(self) -> dict[tuple[str, Shots], list[Tested]]:
        """(domain, shots) -> the claims with their differences."""
        return {(domain.name, shots): tested(self.grid.claims, cells) for domain, shots, cells in self.tables()}

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """The protocol of all cells, without the machine."""
        measured = self.cells[0].first.protocol if self.cells else {}
        return {
            "scale": self.grid.protocol,
            **asdict(self.towers),
            "backbone_checkpoint": measured.get("backbone_checkpoint"),
            "image_size": measured.get("image_size"),
            "precision": measured.get("precision"),
            "ties": measured.get("ties"),
            "shots": self.grid.shots,
            "seeds": self.grid.seeds,
            "validation": self.grid.validation,
            "training": {k: v for k, v in asdict(self.grid.training).items() if k not in ("seed", "trackers")},
        }

    def galleries(self) -> dict[str, dict[str, Any]]:
        """Returns the gallery of every domain."""
        keys = ("gallery", "captions", "captions_per_image", "data_fingerprint")
        firsts = {domain.name: (domain.left_out, cells[0].first.protocol) for domain, _, cells in self.tables()}
        return {
            name: {key: protocol[key] for key in (*keys, "image_features") if key in protocol}
            | ({"left_out": left_out} if left_out else {})
            for name, (left_out, protocol) in firsts.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON: the same bytes whenever and however often interrupted the grid is run."""
        return {
            "title": self.grid.title,
            "protocol": self.protocol,
            "galleries": self.galleries(),
            "rows": [asdict(row) for row in self.grid.lines()],
            "cells": [cell.to_dict() for cell in self.cells],
            "significance": [
                {"domain": domain, "shots": shots, "row": label, "direction": direction, "k": k}
                | {"against": verdict.against, "mark": verdict.mark, **asdict(verdict.difference), "holm": verdict.p}
                for (domain, shots), found in self.verdicts.items()
                for (label, direction, k), verdict in found.items()
            ],
            "claims": [
                {"domain": domain, "shots": shots} | one.to_dict()
                for (domain, shots), found in self.claims.items()
                for one in found
            ],
            "evaluations": [
                {"label": label, "row": cell.row.label, "domain": cell.domain.name, "shots": cell.shots}
                | {"seeds": {str(seed): _without_queries(result) for seed, result in found.items()}}
                for cell in self.cells
                for label, found in cell.evaluations.items()
            ],
            "failures": [asdict(failure) for failure in self.failures],
        }

    def timings(self) -> list[dict[str, Any]]:
        """Returns time and memory of every cell, which differ from machine to machine."""
        return [
            {"row": cell.row.label, "domain": cell.domain.name, "shots": cell.shots}
            | {"seeds": {str(seed): asdict(timing) for seed, timing in cell.timings.items()}}
            for cell in self.cells
        ]

    def save(self, folder: Path) -> None:
        """Writes results.json and timings.json."""
        write_json(folder / "results.json", self.to_dict())
        write_json(folder / "timings.json", self.timings())


def _without_queries(result: Retrieval) -> dict[str, Any]:
    return {key: value for key, value in result.to_dict().items() if key not in ("queries", "categories")}
