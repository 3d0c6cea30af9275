"""Measures everything that docs/results.md shows, and writes its tables. Interrupted, it goes on where it stopped.

    python scripts/results.py --shared ../shared/data

A table is a grid in configs/grids/ (`crosscue bench`), or a few rows of `crosscue evaluate`. Its numbers are kept in docs/results/ and a table that
is there is not measured again. Grids share their jobs in `runs/jobs`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import auto_cli

from crosscue.storage import write_text

ROOT = Path(__file__).parents[1]
PAGE, KEPT = ROOT / "docs" / "results.md", ROOT / "docs" / "results"
KEYS = [(direction, k) for direction in ("i2t", "t2i") for k in ("r1", "r5", "r10")]
HEAD = ["| | i2t R@1 | R@5 | R@10 | t2i R@1 | R@5 | R@10 |", "|---|---:|---:|---:|---:|---:|---:|"]

GRIDS = {
    "dcar_caltech101": "caltech101={shared}/fdrd_caltech101",
    "dcar_choices": "caltech101-25={runs}/caltech101-25.jsonl",
    "methods_caltech101": "caltech101-25={runs}/caltech101-25.jsonl",
}
"""Grid in configs/grids/ -> what --data names."""


@dataclass(frozen=True)
class Row:
    """A line of a table that is one command: the name of its file in docs/results/, and what it evaluates."""

    label: str
    name: str
    evaluate: str


FLICKR = "zero_shot --data {shared}/flickr8k --missing skip"
EVALUATIONS = {
    "flickr8k": [
        Row("zero-shot, 224 px", "flickr8k-zero_shot-224", FLICKR),
        Row("zero-shot, 160 px", "flickr8k-zero_shot-160", f"{FLICKR} --image_size 160"),
        Row("zero-shot, 112 px", "flickr8k-zero_shot-112", f"{FLICKR} --image_size 112"),
        Row("zero-shot, 224 px, centred", "flickr8k-zero_shot-224-centred", f"{FLICKR} --centre true"),
    ],
    "caltech101_sizes": [
        Row("zero-shot, 224 px", "caltech101-zero_shot-224", "zero_shot --data {shared}/fdrd_caltech101"),
        Row(
            "zero-shot, 160 px",
            "caltech101-zero_shot-160",
            "zero_shot --data {shared}/fdrd_caltech101 --image_size 160",
        ),
    ],
}
"""Table -> its rows."""


def crosscue(arguments: str) -> None:
    """Runs one command of the command line; its progress is shown."""
    command = [sys.executable, "-c", "from crosscue.cli import main; main()", *shlex.split(arguments)]
    subprocess.run(command, check=True, cwd=ROOT)


def quarter(source: Path, target: Path) -> None:
    """Writes every fourth category of a source in the format of captions.json as JSONL."""
    rows = json.loads((source / "captions.json").read_text(encoding="utf-8"))
    chosen = sorted({row["category"] for row in rows})[::4]
    kept = [
        json.dumps(row | {"image": str((source / row["image"]).resolve()), "image_id": row["image"]})
        for row in rows
        if row["category"] in chosen
    ]
    write_text(target, "\n".join(kept) + "\n")


def evaluated(row: Row, shared: Path) -> str:
    """Returns a line of a table; measures it unless it is kept."""
    file = KEPT / f"{row.name}.json"
    if not file.exists():
        crosscue(f"evaluate {row.evaluate.format(shared=shared)} --json {file}")
        result = json.loads(file.read_text(encoding="utf-8"))
        del result["queries"], result["categories"]
        write_text(file, json.dumps(result, indent=1) + "\n")
    result = json.loads(file.read_text(encoding="utf-8"))
    return f"| {row.label} | " + " | ".join(f"{result[direction][k]:.1f}" for direction, k in KEYS) + " |"


def benched(grid: str, data: str, runs: Path) -> str:
    """Returns the page of a grid without its heading; measures what is not kept."""
    kept = KEPT / f"{grid}.md"
    if not kept.exists():
        out = runs / grid
        crosscue(f"bench configs/grids/{grid}.yaml --data {data} --out {out} --jobs {runs / 'jobs'}")
        write_text(KEPT / f"{grid}.json", (out / "results.json").read_text(encoding="utf-8"))
        write_text(kept, (out / "leaderboard.md").read_text(encoding="utf-8"))
    return re.sub(r"^#+ .*\n+", "", kept.read_text(encoding="utf-8"), flags=re.MULTILINE).strip()


def main(shared: Path, runs: Path = Path("runs"), only: str | None = None) -> None:
    """Measures and renders.

    Args:
        shared: the folder of development data.
        runs: where jobs go.
        only: measure this table alone.
    """
    quarter(shared / "fdrd_caltech101", runs / "caltech101-25.jsonl")
    makers = {
        name: lambda rows=rows: "\n".join([*HEAD, *(evaluated(row, shared) for row in rows)])
        for name, rows in EVALUATIONS.items()
    } | {
        name: lambda name=name, data=data: benched(name, data.format(shared=shared, runs=runs), runs)
        for name, data in GRIDS.items()
    }
    for name, make in makers.items():
        if only in (None, name):
            block = f"<!-- {name} -->\n{make()}\n<!-- end {name} -->"
            text, found = re.subn(
                f"<!-- {name} -->.*?<!-- end {name} -->",
                lambda _, block=block: block,
                PAGE.read_text(encoding="utf-8"),
                flags=re.DOTALL,
            )
            if not found:
                raise SystemExit(f"{PAGE} has no place for table {name}: add <!-- {name} --> and <!-- end {name} -->")
            write_text(PAGE, text)
    print(f"{PAGE} is up to date")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
