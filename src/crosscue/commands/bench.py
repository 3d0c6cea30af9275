"""crosscue bench GRID: evaluate a grid of methods, domains, shots and seeds, job by job, as tables and curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crosscue.commands.options import BackboneOptions
from crosscue.commands.parser import options_parser, taken
from crosscue.data.sources import Reading
from crosscue.errors import CrosscueError, RunError

if TYPE_CHECKING:
    from crosscue.bench.plan import Plan

LISTS = ("methods", "data", "domains", "shots", "seeds")
"""Options that take several values: --shots 1 2 4."""


@dataclass(frozen=True)
class BenchOptions:
    """Sources and folders of a bench."""

    data: list[str] = field(default_factory=list)
    """Sources of pairs with a split test, one a domain: --data a.jsonl cars=b.jsonl. NAME=SOURCE names the domain. For an FDRD
    grid: the folder of FDRD."""
    out: Path | None = None
    """Folder of the results; default runs/bench-GRID. The same command continues an interrupted bench."""
    jobs: Path | None = None
    """Folder of the jobs; default OUT/jobs. Grids with the same folder share their common jobs."""
    dry_run: bool = False
    """List the jobs, their number and an estimate, and stop."""


def run(arguments: list[str]) -> int:
    """Runs a grid. Returns 1 when a job failed, and 130 when interrupted; then the same command continues."""
    from crosscue.bench.grid import Grid
    from crosscue.bench.named import grid_file, named_grids

    parser = options_parser(
        "bench GRID",
        f"Evaluates a grid, job by job. GRID is a YAML file or one of: {', '.join(named_grids())}.",
        (BenchOptions, None),
        (Grid, None),
        (Reading, None),
        (BackboneOptions, None),
    )
    if not arguments or arguments[0].startswith("-"):
        parser.parse_args([argument for argument in arguments if argument in ("-h", "--help")])
        raise RunError(f"give a grid: crosscue bench GRID, a YAML file or one of: {', '.join(named_grids())}.")
    name, path = arguments[0], grid_file(arguments[0])
    file = ["--config", str(path)]
    try:
        parser.parse_args(file)
    except CrosscueError as error:
        raise RunError(f"{path}: {error}") from error
    given = parser.instantiate(parser.parse_args([*file, *joined(arguments[1:])]))
    grid = taken(given, Grid)
    reading = taken(given, Reading)
    grid.lines()

    from crosscue.bench.domains import read_domains, read_others
    from crosscue.bench.jobs import Towers
    from crosscue.bench.plan import plans

    out = given.out or Path("runs") / f"bench-{Path(name).stem}"
    towers = Towers(given.backbone, given.image_size, given.precision)
    domains = read_domains(given.data, grid.domains, reading, grid.negatives)
    others = read_others(given.data, grid.evaluate, reading)
    planned = plans(grid, domains, towers, given.jobs or out / "jobs")
    if given.dry_run:
        sys.stdout.write("\n".join(listing(planned)) + "\n")
        return 0

    from crosscue.backbones.loading import load_backbone
    from crosscue.bench.pages import write_pages
    from crosscue.bench.results import Results
    from crosscue.bench.running import Bench

    backbone = load_backbone(
        given.backbone, image_size=given.image_size, precision=given.precision, device=given.device
    )
    try:
        say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731, T201
        bench = Bench(planned, backbone, say, others)
        bench.run()
    except KeyboardInterrupt:
        sys.stderr.write("crosscue bench: interrupted; the same command goes on from here\n")
        return 130
    results = Results(grid, domains, towers, bench.cells, bench.failures)
    results.save(out)
    page = write_pages(out, results)
    for failure in bench.failures:
        sys.stderr.write(f"failed: {failure.job}: {failure.reason}\n")
    sys.stdout.write(f"{page.read_text(encoding='utf-8')}\n{out}\n")
    return 1 if bench.failures else 0


def joined(arguments: list[str]) -> Iterator[str]:
    """Yields the arguments with the values of list options as one: --shots 1 2 becomes --shots=[1, 2]."""
    place = 0
    while place < len(arguments):
        argument = arguments[place]
        place += 1
        if argument.removeprefix("--") not in LISTS or not argument.startswith("--"):
            yield argument
            continue
        values = []
        while place < len(arguments) and not arguments[place].startswith("--"):
            values.append(arguments[place])
            place += 1
        if len(values) == 1 and values[0].startswith("["):
            yield f"{argument}={values[0]}"
        else:
            yield f"{argument}={json.dumps([int(v) if v.isdigit() else v for v in values])}"


def listing(planned: list[Plan]) -> list[str]:
    """Returns one line a job, and their number with an estimate."""
    from crosscue.bench.plan import Pace

    lines, left, seen = [], [], set()
    for plan in planned:
        for folder, (candidate, seed) in plan.jobs(plan.chosen()).items():
            if folder in seen:
                continue
            seen.add(folder)
            job = plan.job(candidate, seed)
            done = job.trained() is not None if job.trains else job.result(plan.row.inference) is not None
            if not done:
                left.append((job.method, plan.steps))
            lines.append(f"{'done ' if done else 'to do'}  {plan.steps:>7,} steps  {plan.title(candidate, seed)}")
    estimate = Pace(planned).estimate(left)
    lines.append(
        f"{len(seen):,} jobs, {len(seen) - len(left):,} done, {sum(s for _, s in left):,} steps to do, {estimate}"
    )
    return lines
