"""Estimates of `crosscue plan evaluate`, `index` and `search` beside the commands that they are about, on real images with the starter.

    python benchmarks/plan_commands.py ../shared/data/fdrd_caltech101 --out plan_commands.json

The estimates and the commands have processes of their own, with an empty cache and one thread. Time is CPU time, so that other
programs do not disturb it; the clock of the estimate is the CPU clock here. The starter is loaded before, but for the search, whose
estimate names that part. Memory is the largest of the process. What the file has is not run again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from harness import arguments, peak_megabytes
from plan import print_row

from crosscue import TrainingConfig, adapt, api, read_pairs
from crosscue.backbones.starter import starter_folder
from crosscue.cli import dispatch as crosscue
from crosscue.commands import plan
from crosscue.data.writing import write_pairs

SIZE, LEARNED, HELD = 160, 8, 48
"""Pixels, and images of the run and of the evaluation."""
DATA, RUN, COLLECTION, WAYS = "pairs.jsonl", "run", "found.crosscue", ("estimated", "measured")


@dataclass(frozen=True)
class Case:
    """A command, the run that is loaded before it, and the size of its images."""

    name: str
    words: tuple[str, ...]
    run: str | None = None
    size: int | None = None


CASES = [
    Case(
        f"evaluate zero_shot, {SIZE} px",
        ("evaluate", "zero_shot", "--data", DATA, "--split", "test", "--image_size", str(SIZE)),
        *("zero_shot", SIZE),
    ),
    Case(f"evaluate a run, {SIZE} px", ("evaluate", RUN, "--data", DATA, "--split", "test"), RUN),
    Case(f"index a run, {SIZE} px", ("index", "test", "--run", RUN, "--threads", "1"), RUN),
    Case("search", ("search", "a red bicycle", "--collection", COLLECTION)),
]


def main() -> None:
    given = arguments(__doc__, out=Path("plan_commands.json"))
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        prepare(given.source, place)
        for number, case in enumerate(CASES):
            row = found.setdefault(case.name, {})
            for way in WAYS:
                if way not in row:
                    row[way] = in_own_process(way, number, place)
                    given.out.write_text(json.dumps(found, indent=1))
            print_row(case.name, **found[case.name])


def prepare(source: str, place: Path) -> None:
    """Write a run, a listing of its images and of those to evaluate, a folder of the latter, and an index of them."""
    pairs = read_pairs(source)
    listed = [*pairs.split("train")[:LEARNED], *pairs.split("test")[:HELD]]
    write_pairs(place / DATA, listed)
    (place / "test").mkdir()
    for number, pair in enumerate(listed[LEARNED:]):
        shutil.copyfile(pair.image.path, place / "test" / f"{number}.jpg")
    training = TrainingConfig(epochs=1, batch_size=8)
    adapt(str(place / DATA), "dual_prompt", out=place / RUN, training=training, image_size=SIZE, validation=False)
    crosscue(["index", str(place / "test"), "--run", str(place / RUN), "--collection", str(place / COLLECTION)])


def in_own_process(way: str, number: int, place: Path) -> dict[str, float]:
    """Return CPU seconds and MB of one way, in a process whose cache has the starter alone."""
    code = f"import plan_commands; plan_commands.{way}({number})"
    with tempfile.TemporaryDirectory() as cache:
        (Path(cache) / "starter").symlink_to(starter_folder().parent)
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"CROSSCUE_CACHE": cache, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=environment, cwd=place
        )
    return json.loads(done.stdout.splitlines()[-1])


def loaded(case: Case) -> None:
    """Load the run of a case, so that the command receives it at once."""
    if case.run is not None:
        run = api.as_run(case.run, image_size=case.size, device="cpu")
        api.as_run = lambda *_, **__: run


def estimated(number: int) -> None:
    """Print the estimate."""
    case, found = CASES[number], []
    loaded(case)
    time.perf_counter = time.process_time
    plan.told = lambda estimate: found.append(estimate) or 0
    verb, *words = case.words
    getattr(plan, verb)(words)
    sys.stderr.write(str(found[0]))
    print(json.dumps({"seconds": found[0].seconds, "memory": found[0].memory / 2**20}))


def measured(number: int) -> None:
    """Print what the command took."""
    case = CASES[number]
    loaded(case)
    verb, *words = case.words
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        import_module(f"crosscue.commands.{verb}").run(words)
    print(json.dumps({"seconds": time.process_time() - start, "memory": peak_megabytes()}))


if __name__ == "__main__":
    main()
