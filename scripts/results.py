"""Measures everything that docs/results.md shows, and writes its tables. Interrupted, it goes on where it stopped.

    python scripts/results.py --shared ../shared/data

Each row is one command of `crosscue`; its numbers are kept in docs/results/ and a row that is there is not measured again.
"""

from __future__ import annotations

import json
import re
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import auto_cli

from crosscue.storage import write_text

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = (1, 2, 3)
KEYS = [(direction, k) for direction in ("i2t", "t2i") for k in ("r1", "r5", "r10")]


@dataclass(frozen=True)
class Row:
    """One line of a table: the name of its file(s) in docs/results/ and the commands that measure it."""

    table: str
    label: str
    name: str
    evaluate: str
    adapt: str | None = None
    """Where the row is a trained method: the command that trains it, with {seed} and {out}."""


CALTECH = "configs/results/fdrd_caltech101_reduced.yaml"
ROWS = [
    Row("flickr8k", "zero-shot, 224 px", "flickr8k-zero_shot-224", "zero_shot --data {shared}/flickr8k --missing skip"),
    Row(
        "flickr8k",
        "zero-shot, 160 px",
        "flickr8k-zero_shot-160",
        "zero_shot --data {shared}/flickr8k --missing skip --image_size 160",
    ),
    Row(
        "flickr8k",
        "zero-shot, 112 px",
        "flickr8k-zero_shot-112",
        "zero_shot --data {shared}/flickr8k --missing skip --image_size 112",
    ),
    Row(
        "flickr8k",
        "zero-shot, 224 px, centred",
        "flickr8k-zero_shot-224-centred",
        "zero_shot --data {shared}/flickr8k --missing skip --centre true",
    ),
    Row(
        "fdrd_caltech101",
        "zero-shot, 224 px",
        "caltech101-zero_shot-224",
        "zero_shot --data {shared}/fdrd_caltech101",
    ),
    Row(
        "fdrd_caltech101",
        "zero-shot, 160 px",
        "caltech101-zero_shot-160",
        "zero_shot --data {shared}/fdrd_caltech101 --image_size 160",
    ),
    Row(
        "fdrd_caltech101",
        "dual_prompt, 160 px",
        "caltech101-dual_prompt",
        "{out} --data {shared}/fdrd_caltech101",
        f"--config {CALTECH} --data {{shared}}/fdrd_caltech101 --training.seed {{seed}} --out {{out}}",
    ),
]


def crosscue(arguments: str, **values: object) -> None:
    """Runs one command of the command line; its progress is shown."""
    words = shlex.split(arguments.format(**values))
    subprocess.run([sys.executable, "-c", "from crosscue.cli import main; main()", *words], check=True)


def measure(row: Row, shared: Path, runs: Path) -> list[dict]:
    """Returns one result a seed; measures what is not there."""
    results = []
    for seed in SEEDS if row.adapt else (None,):
        file = DOCS / "results" / (f"{row.name}.json" if seed is None else f"{row.name}-seed{seed}.json")
        out = runs / file.stem
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            if row.adapt:
                resume = " --resume true" if (out / "config.yaml").exists() else ""
                crosscue(f"adapt {row.adapt}{resume}", shared=shared, seed=seed, out=out)
            crosscue(f"evaluate {row.evaluate} --json {{file}}", shared=shared, out=out, file=file)
        results.append(compact(file, out if row.adapt else None))
    return results


def compact(file: Path, run: Path | None) -> dict:
    """Returns a result without its lists of single queries, and for a run with its paired differences to the untouched backbone."""
    result = json.loads(file.read_text(encoding="utf-8"))
    if "queries" in result:
        del result["queries"], result["categories"]
        if run is not None:
            report = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
            result["differences"] = report["differences"]
        write_text(file, json.dumps(result, indent=1) + "\n")
    return result


def line(row: Row, results: list[dict]) -> str:
    """Renders one line: the value, or the mean and the standard deviation over the seeds."""
    cells = []
    for direction, k in KEYS:
        values = [result[direction][k] for result in results]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.1f}{spread}")
    return f"| {row.label} | " + " | ".join(cells) + " |"


def differences(row: Row, results: list[dict]) -> list[str]:
    """Renders, a seed a line, the paired difference of R@1 to the untouched backbone with its 95 % interval."""
    lines = []
    for seed, result in zip(SEEDS, results, strict=False):
        if "differences" in result:
            changes = [result["differences"][direction]["r1"] for direction in ("i2t", "t2i")]
            cells = (f"{c['mean']:+.1f} ({c['low']:+.1f} to {c['high']:+.1f}), p {c['p']:.4f}" for c in changes)
            lines.append(f"- {row.label}, seed {seed}, R@1 against zero-shot: i2t {', t2i '.join(cells)}")
    return lines


def main(shared: Path, runs: Path = Path("runs/results"), only: str | None = None) -> None:
    """Measures and renders.

    Args:
        shared: the folder of development data.
        runs: where trained runs go.
        only: measure the rows of this table alone.
    """
    page = DOCS / "results.md"
    text = page.read_text(encoding="utf-8")
    for table in dict.fromkeys(row.table for row in ROWS):
        if only not in (None, table):
            continue
        measured = [(row, measure(row, shared, runs)) for row in ROWS if row.table == table]
        lines = [line(row, results) for row, results in measured]
        changes = [change for row, results in measured for change in differences(row, results)]
        head = [
            "| | i2t R@1 | R@5 | R@10 | t2i R@1 | R@5 | R@10 |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        below = ["", *changes] if changes else []
        block = "\n".join([f"<!-- {table} -->", *head, *lines, *below, f"<!-- end {table} -->"])
        text = re.sub(f"<!-- {table} -->.*?<!-- end {table} -->", lambda _, block=block: block, text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
    print(f"{page} is up to date")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
