"""Measures everything that docs/results.md shows, and writes its tables. Interrupted, it goes on where it stopped.

    python scripts/results.py --shared ../shared/data

A table is a grid in configs/grids/ (`crosscue bench`), a few rows of `crosscue evaluate`, or another look at the runs of a grid. Its numbers are kept
in docs/results/ and a table that is there is not measured again. Grids share their jobs in `runs/jobs`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import auto_cli

from crosscue import read_pairs
from crosscue.demo.emoji import emoji_pairs
from crosscue.evaluation.intervals import difference
from crosscue.evaluation.recall import hits
from crosscue.evaluation.result import DIRECTIONS, Retrieval
from crosscue.evaluation.slices import by_wording
from crosscue.storage import write_text

ROOT = Path(__file__).parents[1]
PAGE, METHODS, KEPT = ROOT / "docs" / "results.md", ROOT / "docs" / "methods.md", ROOT / "docs" / "results"
KEYS = [(direction, k) for direction in DIRECTIONS for k in ("r1", "r5", "r10")]
HEAD = ["| | i2t R@1 | R@5 | R@10 | t2i R@1 | R@5 | R@10 |", "|---|---:|---:|---:|---:|---:|---:|"]

QUARTER, FLICKR_PIXELS = "caltech101-25={runs}/caltech101-25.jsonl", "flickr8k={runs}/flickr8k-1600.jsonl"
FLICKR_VAL = "flickr8k-val={runs}/flickr8k-val.jsonl"
GRIDS = {
    "dcar_caltech101": "caltech101={shared}/fdrd_caltech101",
    "dcar_choices": QUARTER,
    "methods_caltech101": QUARTER,
    "methods_whole_tower": QUARTER,
    "methods_flickr8k": FLICKR_PIXELS,
    "action_flickr8k": FLICKR_VAL,
    "acke_flickr8k": FLICKR_PIXELS,
    "acke_decisive": QUARTER,
    "acke_caltech101": QUARTER,
    "methods_emoji": "emoji={runs}/emoji.jsonl",
}
"""Grid in configs/grids/ -> what --data names."""
COMPARED = {
    "methods_caltech101": "25 categories of FDRD Caltech101",
    "methods_whole_tower": "25 categories of FDRD Caltech101",
    "acke_caltech101": "25 categories of FDRD Caltech101",
    "methods_flickr8k": "Flickr8k",
    "methods_emoji": "emoji",
    "action_flickr8k": "Flickr8k",
    "acke_flickr8k": "Flickr8k",
}
"""Grids that docs/methods.md quotes, the first that has a row for each source."""
LOOKED_AT = {
    "zero-shot": ("methods_flickr8k", "zero-shot"),
    "dual prompts": ("methods_flickr8k", "dual prompts"),
    "LoRA": ("methods_flickr8k", "LoRA"),
    "visual prompts": ("action_flickr8k", "visual prompts alone"),
    "ACT": ("action_flickr8k", "ACT (triplets + states + visual)"),
}
"""Rows whose first runs are looked at again: label -> grid and its row."""


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
        Row("zero-shot, 224 px, centred", "flickr8k-zero_shot-224-centred", f"{FLICKR} --centre"),
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


ACKE, ACT = "evidence weights (ACKE)", "ACT (triplets + states + visual)"
CLAIMS = {
    "acke_claims": [
        ("evidence weights over shuffled ones", "acke_decisive", ACKE, "shuffled evidence weights"),
        ("weighed descriptions over none", "acke_decisive", ACKE, "no descriptions"),
        ("chosen prompts over the same for all", "acke_decisive", ACKE, "ACKE, static prompts"),
    ],
    "action_claims": [
        ("ACT over zero-shot", "action_flickr8k", ACT, "zero-shot"),
        ("ACT over visual prompts with the same re-ranking", "action_flickr8k", ACT, "visual prompts + re-ranking"),
        ("two stages over one", "action_flickr8k", ACT, "one stage"),
        ("AIM over concatenation", "action_flickr8k", ACT, "CAT in place of AIM"),
        ("with attributes over without", "action_flickr8k", ACT, "without attributes"),
        ("candidates alike (matched) over its own caption", "action_flickr8k", ACT, "trained on its own caption"),
    ],
}
"""Table -> what is claimed, the grid it is measured in, the row and the row it is better than."""
LEAKY = "ACKE trained with the released leak, asked without it"
"""A row of acke_flickr8k."""
CALIBRATED = {"acke_flickr8k": "Flickr8k", "acke_caltech101": "25 categories of FDRD Caltech101"}
"""Grids whose ACKE run is asked how certain it is, and what the table calls their sources."""


def crosscue(arguments: str) -> None:
    """Runs one command of the command line; its progress is shown."""
    command = [sys.executable, "-c", "from crosscue.cli import main; main()", *shlex.split(arguments)]
    subprocess.run(command, check=True, cwd=ROOT)


def write_source(target: Path, folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows as JSONL; pictures are named by their whole path, and by `image_id`, which a row may have of its own."""
    lines = [
        json.dumps({"image_id": row["image"]} | row | {"image": str((folder / row["image"]).resolve())}) for row in rows
    ]
    write_text(target, "\n".join(lines) + "\n")


def quarter(source: Path, target: Path) -> None:
    """Writes every fourth category of a source in the format of captions.json."""
    rows = json.loads((source / "captions.json").read_text(encoding="utf-8"))
    chosen = sorted({row["category"] for row in rows})[::4]
    write_source(target, source, (row for row in rows if row["category"] in chosen))


def with_pixels(source: Path, target: Path, learn: Sequence[str]) -> None:
    """Writes the rows whose pictures are there: the test split, and the splits to learn from as one."""
    rows = json.loads((source / "captions.json").read_text(encoding="utf-8"))
    there = (row for row in rows if row["pixels"] and row["split"] in (*learn, "test"))
    write_source(target, source, (row | {"split": "test" if row["split"] == "test" else "train"} for row in there))


def sugarcrepe(source: Path, target: Path) -> None:
    """Writes SugarCrepe's pairs, each a row with one edited caption; the kind of edit stands in the category."""
    places = {Path(row["image"]).name: row["image"] for row in json.loads((source / "captions.json").read_text())}
    kinds = json.loads((source / "sugarcrepe_subset.json").read_text(encoding="utf-8"))
    rows = (
        {
            "image": places[pair["filename"]],
            "image_id": f"{kind} {number}",
            "caption": pair["caption"],
            "negatives": [{"text": pair["negative_caption"], "type": "attribute"}],
            "category": kind,
        }
        for kind, pairs in kinds.items()
        for number, pair in enumerate(pairs)
    )
    write_source(target, source, rows)


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


def emoji(target: Path) -> None:
    """Writes the demo's pairs."""
    rows = (
        {"image": pair.image.name, "image_id": pair.image_id, "captions": pair.captions}
        | {"category": pair.category, "split": pair.split}
        for pair in emoji_pairs()
    )
    write_source(target, target.parent, rows)


def read(file: Path) -> Any:
    """Returns what a JSON file says."""
    return json.loads(file.read_text(encoding="utf-8"))


def kept(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the numbers of a table from docs/results/; measures them, and keeps them, where they are not there."""
    file = KEPT / f"{name}.json"
    if not file.exists():
        write_text(file, json.dumps(measure(), indent=1) + "\n")
    found: dict[str, Any] = read(file)
    return found


def cells_of(grid: str) -> dict[str, dict[str, Any]]:
    """Returns row -> what was measured of it, by the kept results of a grid; nothing where there are none."""
    file = KEPT / f"{grid}.json"
    return {cell["row"]: cell for cell in read(file)["cells"]} if file.exists() else {}


def runs_of(grid: str, row: str, runs: Path) -> list[Path]:
    """Returns the folders of a row's runs, one a seed."""
    return [runs / "jobs" / folder for folder in cells_of(grid)[row]["runs"].values()]


def looked_at(runs: Path) -> dict[str, Path]:
    """Returns label -> folder of the first run of a row."""
    return {label: runs_of(grid, row, runs)[0] for label, (grid, row) in LOOKED_AT.items()}


def wordings(runs: Path) -> str:
    """Returns the text-to-image R@1 of Flickr8k captions by what they speak of, from the ranks that grids left behind."""

    def measure() -> dict[str, Any]:
        captions = read_pairs(runs / "flickr8k-1600.jsonl").split("test").captions
        return {
            label: by_wording(captions, result_of(folder).ranks["t2i"]) for label, folder in looked_at(runs).items()
        }

    return table(kept("flickr8k-wordings", measure), "captions", "t2i_r1")


def result_of(folder: Path) -> Retrieval:
    """Returns the measurement of a run; of several, that of the mode it re-ranks in."""
    files = sorted(folder.glob("result*.json"), key=lambda file: ("rerank=True" in file.name, "top=" in file.name))
    return Retrieval.from_dict(read(files[-1]))


def preferred(runs: Path) -> str:
    """Returns how often each run prefers a caption of COCO to its edited version."""

    def measure() -> dict[str, Any]:
        found = {}
        for label, folder in looked_at(runs).items():
            what = "zero_shot --image_size 160" if label == "zero-shot" else str(folder)
            file = runs / f"sugarcrepe-{folder.name}.json"
            crosscue(f"evaluate {what} --data {runs}/sugarcrepe.jsonl --minimal_pairs --diagnostics 0 --json {file}")
            found[label] = read(file)["minimal_pairs"]
            found[label].pop("attribute")  # every edit is read as one
        return found

    return table(kept("sugarcrepe", measure), "pairs", "preferred")


def claimed(name: str, runs: Path) -> str:
    """Returns the differences in R@1 that claims are about, hits averaged over seeds, with paired 95 % intervals over pictures."""

    def measure() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for claim, grid, row, other in CLAIMS[name]:
            ours, theirs = ([result_of(run) for run in runs_of(grid, label, runs)] for label in (row, other))
            found[claim] = {}
            for direction in DIRECTIONS:
                one, two = (np.mean([hits(r.ranks[direction], 1) for r in some], axis=0) for some in (ours, theirs))
                found[claim][direction] = difference(two, one, ours[0].clusters(direction)).to_dict()
        return found

    lines = ["| claim | i2t | t2i |", "|---|---:|---:|"]
    for claim, both in kept(name, measure).items():
        shown = [f"{both[d]['mean']:+.1f} ({both[d]['low']:+.1f} to {both[d]['high']:+.1f})" for d in DIRECTIONS]
        lines.append(f"| {claim} | {' | '.join(shown)} |")
    return "\n".join(lines)


def leaked(runs: Path) -> str:
    """Returns the result of one run with every caption read with the prompts of its own image, as in the released code."""
    cells, run = cells_of("acke_flickr8k"), runs_of("acke_flickr8k", LEAKY, runs)[0]
    row = Row(
        "the same run evaluated as released: NOT COMPARABLE",
        "acke-oracle",
        f"{run} --data {runs}/flickr8k-1600.jsonl --oracle",
    )
    lines = [
        f"| {label} | " + " | ".join(f"{cells[label][direction][k]['mean']:.1f}" for direction, k in KEYS) + " |"
        for label in (ACKE, LEAKY)
    ]
    return "\n".join([*HEAD, *lines, evaluated(row, runs)])


def calibrated(runs: Path) -> str:
    """Returns how often ACKE is wrong among its most and its least certain queries, in tenths of the queries."""

    def measure() -> dict[str, Any]:
        found = {}
        for grid, source in CALIBRATED.items():
            run = runs_of(grid, ACKE, runs)[0]
            crosscue(f"evaluate {run} --data {GRIDS[grid].format(runs=runs).partition('=')[2]}")
            report = read(run / "report" / "report.json")
            found |= {f"{source}, {direction}": one for direction, one in report["calibration"].items()}
        return found

    found = kept("acke_calibration", measure)
    tenths = len(next(iter(found.values()))["bins"])
    lines = [f"| | AUROC | {' | '.join(map(str, range(1, tenths + 1)))} |", "|---|" + "---:|" * (tenths + 1)]
    for label, one in found.items():
        errors = " | ".join(f"{100 * part['error']:.0f}" for part in one["bins"])
        lines.append(f"| {label} | {one['auroc']:.2f} | {errors} |")
    return "\n".join(lines)


def table(rows: dict[str, dict[str, dict[str, float]]], count: str, value: str) -> str:
    """Returns a table of one value for each row and part; the heads of its columns say how many each part holds."""
    parts = next(iter(rows.values()))
    heads = [f"{part.replace('_', ' ')} ({of[count]:,})" for part, of in parts.items()]
    lines = [f"| | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    lines += [
        f"| {label} | " + " | ".join(f"{found[part][value]:.1f}" for part in parts) + " |"
        for label, found in rows.items()
    ]
    return "\n".join(lines)


def quoted(label: str) -> str:
    """Returns a sentence with the R@1 of a row, in every source that it was measured on."""
    found: dict[str, str] = {}
    for grid, source in COMPARED.items():
        cells = cells_of(grid)
        if label in cells:
            before, after = (
                " / ".join(f"{cells[row][direction]['r1']['mean']:.1f}" for direction in DIRECTIONS)
                for row in ("zero-shot", label)
            )
            found.setdefault(source, f"{source}: {before} → {after} in {cells[label]['steps']} steps")
    if not found:
        return "**Our numbers.** None yet."
    return f"**Our numbers.** {'; '.join(found.values())}."


def quote() -> None:
    """Fills in the numbers of docs/methods.md."""
    text = re.sub(
        r"<!-- numbers: (.*?) -->.*?<!-- end -->",
        lambda place: f"<!-- numbers: {place[1]} -->\n{quoted(place[1])}\n<!-- end -->",
        METHODS.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    write_text(METHODS, text)


def main(shared: Path, runs: Path = Path("runs"), only: str | None = None) -> None:
    """Measures and renders.

    Args:
        shared: the folder of development data.
        runs: where jobs go.
        only: measure this table alone.
    """
    quarter(shared / "fdrd_caltech101", runs / "caltech101-25.jsonl")
    with_pixels(shared / "flickr8k", runs / "flickr8k-1600.jsonl", ["train", "val"])
    with_pixels(shared / "flickr8k", runs / "flickr8k-val.jsonl", ["val"])
    emoji(runs / "emoji.jsonl")
    sugarcrepe(shared / "coco_mini", runs / "sugarcrepe.jsonl")
    makers = {
        name: lambda rows=rows: "\n".join([*HEAD, *(evaluated(row, shared) for row in rows)])
        for name, rows in EVALUATIONS.items()
    } | {
        name: lambda name=name, data=data: benched(name, data.format(shared=shared, runs=runs), runs)
        for name, data in GRIDS.items()
    }
    makers |= {name: lambda name=name: claimed(name, runs) for name in CLAIMS}
    makers |= {
        "flickr8k_wordings": lambda: wordings(runs),
        "sugarcrepe": lambda: preferred(runs),
        "acke_leak": lambda: leaked(runs),
        "acke_calibration": lambda: calibrated(runs),
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
    quote()
    print(f"{PAGE} and {METHODS} are up to date")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
