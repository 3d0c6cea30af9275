"""Measure the grids of docs/results.md, and fill in its tables and the numbers of docs/methods.md.

    python scripts/results.py --shared ../shared/data

Each grid is one `crosscue bench` command. Its numbers are kept in docs/results/, and a grid that is kept is not measured
again. Grids share their jobs in `runs/jobs`. After an interruption the same command continues.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from sources import write_sources

from crosscue.storage import read_json, write_text

ROOT = Path(__file__).parents[1]
PAGE, METHODS, KEPT = ROOT / "docs" / "results.md", ROOT / "docs" / "methods.md", ROOT / "docs" / "results"
CALTECH, FLICKR = "25 categories of FDRD Caltech101", "Flickr8k"
QUARTER = "caltech101-25={runs}/caltech101-25.jsonl"
NEXT, THIRD = (f"caltech101-{name}-25={{runs}}/caltech101-{name}-25.jsonl" for name in ("next", "third"))
PIXELS, SUGAR = "flickr8k={runs}/flickr8k-1600.jsonl", "sugarcrepe={runs}/sugarcrepe.jsonl"
FIRST = "flickr8k-first={runs}/flickr8k-first.jsonl"
GRIDS = {
    "dcar_caltech101": ("caltech101={shared}/fdrd_caltech101", ""),
    "dcar_choices": (QUARTER, ""),
    "methods_caltech101": (QUARTER, CALTECH),
    "methods_224px": (QUARTER, ""),
    "methods_whole_tower": (QUARTER, CALTECH),
    "methods_converged": (QUARTER, ""),
    "methods_next_caltech101": (f"{NEXT} {THIRD}", ""),
    "methods_flickr8k": (f"{PIXELS} {SUGAR}", FLICKR),
    "methods_emoji": ("emoji={runs}/emoji.jsonl", "emoji"),
    "action_flickr8k": (f"{FIRST} {SUGAR}", "Flickr8k, one caption an image"),
    "action_parts": (FIRST, ""),
    "acke_flickr8k": (PIXELS, FLICKR),
    "cars": ("cars={runs}/cars.jsonl --unverified", ""),
    "dcar_places": ("caltech101={shared}/fdrd_caltech101", ""),
    "dcar_negatives": ("nearest={runs}/caltech101-25-nearest.jsonl edits={runs}/caltech101-25-edits.jsonl", ""),
    "action_acts": (FIRST, ""),
    "acke_other_views": ("flickr8k-val={runs}/flickr8k-val.jsonl", ""),
    "acke_frozen_views": ("flickr8k-val={runs}/flickr8k-val.jsonl", ""),
}
"""Grid in configs/grids/ -> sources, and their name in docs/methods.md. The first grid of a source that has a row counts."""
BRIDGE = ROOT / "runs" / "starter-without-cars"
"""The backbone of the grid `cars`: the starter with a bridge that was trained without cars."""
FURTHER = ("Claims", "Evaluated again", "Minimal pairs", "Before training")
"""First words of the tables after the recalls."""


def train_bridge(shared: Path) -> None:
    """Write the backbone of the grid `cars`."""
    script, out = ROOT / "scripts" / "train_starter.py", BRIDGE.with_suffix(".safetensors")
    options = ["--leave_out", '["cars"]', "--recipe.tuned_layers", "0", "--threads", "1"]
    places = ["--shared", str(shared), "--out", str(out), "--folder", str(BRIDGE)]
    subprocess.run([sys.executable, str(script), *places, *options], check=True, cwd=ROOT)


def measure(grid: str, data: str, runs: Path) -> None:
    """Run the command of a grid, and keep its numbers."""
    out = runs / grid
    arguments = shlex.split(f"bench configs/grids/{grid}.yaml --data {data} --out {out} --jobs {runs / 'jobs'}")
    subprocess.run([sys.executable, "-c", "from crosscue.cli import main; main()", *arguments], check=True, cwd=ROOT)
    for kept, made in ((f"{grid}.json", "results.json"), (f"{grid}.md", "leaderboard.md")):
        text = (out / made).read_text(encoding="utf-8")
        write_text(KEPT / kept, re.sub(r"^!\[.*\n\n", "", text, flags=re.MULTILINE))  # charts are not kept


def tables(grid: str, further: str) -> str:
    """Return the tables of recalls with their protocol, or the tables whose title starts with `further`, of a grid that is kept."""
    kept = KEPT / f"{grid}.md"
    if not kept.exists():
        return "" if further else f"Not measured yet: `configs/grids/{grid}.yaml`."
    intro, *sections = re.split(r"^## ", kept.read_text(encoding="utf-8"), flags=re.MULTILINE)
    chosen = [] if further else [intro.partition("\n")[2].strip()]
    several = any(section.startswith("All domains") for section in sections)  # then each table says of which it is
    for section in sections:
        title, _, body = section.partition("\n")
        if title.startswith(further) if further else not title.startswith(FURTHER):
            chosen.append(f"**{title}**\n\n{body.strip()}" if several else body.strip())
    if not chosen:
        raise SystemExit(f"docs/results/{grid}.md has no table '{further}'. Change its place in {PAGE}.")
    return "\n\n".join(chosen)


def filled_page() -> str:
    """Return docs/results.md with the tables at each `<!-- GRID -->` and `<!-- GRID: Claims -->`, up to its `<!-- end -->`."""

    def filled(place: re.Match[str]) -> str:
        return f"<!-- {place[1]}{place[2]} -->\n{tables(place[1], place[2].removeprefix(': '))}\n<!-- end -->"

    text = PAGE.read_text(encoding="utf-8")
    missing = [grid for grid in GRIDS if f"<!-- {grid} -->" not in text]
    if missing:
        raise SystemExit(f"{PAGE} has no place for {', '.join(missing)}. Add <!-- {missing[0]} --> and <!-- end -->.")
    return re.sub(r"<!-- (\w+)((?:: [\w ]+)?) -->.*?<!-- end -->", filled, text, flags=re.DOTALL)


def recalls(cell: dict[str, Any]) -> str:
    """Return R@1 of both directions."""
    return " / ".join(f"{cell[direction]['r1']['mean']:.1f}" for direction in ("i2t", "t2i"))


def quoted(label: str) -> str:
    """Return the R@1 of a row before and after training, for every source that it was measured on."""
    found: dict[str, str] = {}
    for grid, (_, source) in GRIDS.items():
        cells = {c["row"]: c for c in read_json(KEPT / f"{grid}.json")["cells"]} if source else {}
        if label in cells:
            change = f"{recalls(cells['zero-shot'])} → {recalls(cells[label])} in {cells[label]['steps']} steps"
            found.setdefault(source, f"{source}: {change}")
    return f"**Our numbers.** {'; '.join(found.values()) or 'None yet'}."


def filled_methods() -> str:
    """Return docs/methods.md with the numbers at each `<!-- numbers: ROW -->`, up to its `<!-- end -->`."""
    return re.sub(
        r"<!-- numbers: (.*?) -->.*?<!-- end -->",
        lambda place: f"<!-- numbers: {place[1]} -->\n{quoted(place[1])}\n<!-- end -->",
        METHODS.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )


def main(shared: Path, runs: Path = Path("runs"), only: str | None = None) -> None:
    """Measure what is not kept, and fill in the pages.

    Args:
        shared: folder of the development data.
        runs: folder of the sources and the jobs.
        only: measure this grid alone.
    """
    shared, runs = shared.resolve(), runs.resolve()
    missing = [grid for grid in GRIDS if only in (None, grid) and not (KEPT / f"{grid}.md").exists()]
    if missing:
        write_sources(shared, runs)
    if "cars" in missing and not BRIDGE.exists():
        train_bridge(shared)
    for grid in missing:
        measure(grid, GRIDS[grid][0].format(shared=shared, runs=runs), runs)
    write_text(PAGE, filled_page())
    write_text(METHODS, filled_methods())
    print(f"{PAGE} and {METHODS} are up to date")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
