"""Estimates of `crosscue plan adapt` beside the trainings that they are about: six cases, each estimated and run in processes of its own.

    python benchmarks/plan.py ../shared/data/fdrd_caltech101 --out plan.json

CLIP shapes with random weights, real captions, images of noise. Loading the model is in neither number. Time is the CPU time
of one thread, so that other programs do not disturb it. The clock of the estimate is the CPU clock here. Memory is the largest of
the process. Cases that the file has are not run again. bf16 is left out where the CPU has no instructions for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clip_shapes import write_checkpoint
from harness import arguments, peak_megabytes
from PIL import Image as Pillow

from crosscue import TrainingConfig, adapt, load_backbone, read_pairs
from crosscue.backbones.precision import cpu_has_bf16_instructions
from crosscue.planning.adapting import adapting

IMAGES, VALIDATED, BATCH, EPOCHS = 32, 8, 8, 1
TIME, MEMORY = 0.25, 0.20
"""Shares by which an estimate may miss."""


@dataclass(frozen=True)
class Case:
    """A training on images of 224 pixels; of 112 with patches of 16, which are as many."""

    method: str
    patch: int
    precision: str
    rows_at_once: int | None = None

    @property
    def name(self) -> str:
        """The row of the table."""
        chunks = f", {self.rows_at_once} rows at once" if self.rows_at_once else ""
        return f"{self.method}, B/{self.patch}, {self.precision}{chunks}"


CASES = [
    Case("dual_prompt", 32, "fp32"),
    Case("dcar", 32, "fp32"),
    Case("dual_prompt", 32, "fp32", 2),
    Case("filip", 32, "fp32"),
    Case("acke", 32, "fp32"),
    Case("dual_prompt", 16, "fp32"),
    Case("dual_prompt", 32, "bf16"),
    Case("dcar", 32, "bf16"),
]


def main() -> None:
    given = arguments(__doc__, out=Path("plan.json"))
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    cases = [case for case in CASES if case.precision == "fp32" or cpu_has_bf16_instructions()]
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases:
            if case.name not in found:
                pairs = write_pairs(given.source, Path(scratch) / "images")
                folder = Path(scratch) / f"clip-vit-base-patch{case.patch}"
                folder = folder if folder.exists() else write_checkpoint(Path(scratch), case.patch)
                ways = ("estimated", "measured")
                found[case.name] = {way: in_own_process(way, case, pairs, folder) for way in ways}
                given.out.write_text(json.dumps(found, indent=1))
            print_row(case.name, **found[case.name])


def print_row(name: str, estimated: dict[str, float], measured: dict[str, float]) -> None:
    """Print a case."""
    parts = []
    for what, unit, bound in (("seconds", "CPU-s", TIME), ("memory", "MB", MEMORY)):
        miss = estimated[what] / measured[what] - 1
        met = "" if abs(miss) <= bound else " MISSED"
        parts.append(
            f"{estimated[what]:7.1f} estimated, {measured[what]:7.1f} measured {unit} ({100 * miss:+3.0f} %{met})"
        )
    print(f"{name:44} {'; '.join(parts)}", flush=True)


def write_pairs(source: str, folder: Path) -> Path:
    """Write images of noise with captions of a source, four negatives each, and return the table."""
    if (folder / "captions.jsonl").exists():
        return folder / "captions.jsonl"
    captions = list(dict.fromkeys(pair.captions[0] for pair in read_pairs(source)))[: 5 * (IMAGES + VALIDATED)]
    folder.mkdir(parents=True)
    draw, rows = np.random.default_rng(0), []
    for index in range(IMAGES + VALIDATED):
        noise = draw.integers(0, 256, (45, 60, 3), dtype=np.uint8)
        Pillow.fromarray(noise).resize((480, 360)).save(folder / f"{index}.jpg")
        own, *others = captions[5 * index : 5 * index + 5]
        split = "train" if index < IMAGES else "val"
        rows.append({"image": f"{index}.jpg", "caption": own, "negatives": others, "split": split, "category": "x"})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "captions.jsonl"


def in_own_process(way: str, case: Case, pairs: Path, checkpoint: Path) -> dict[str, float]:
    """Return CPU seconds and MB of one way, in a process with an empty cache."""
    code = f"import sys, plan; plan.{way}(*__import__('json').loads(sys.argv[1]))"
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"CROSSCUE_CACHE": cache, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, json.dumps([asdict(case), str(pairs), str(checkpoint)])]
        here = Path(__file__).parent
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment, cwd=here)
    return json.loads(done.stdout.splitlines()[-1])


def opened(case: dict[str, Any], pairs: str, checkpoint: str) -> tuple[Any, Any, dict[str, Any]]:
    """Return the pairs, the backbone and the options of the loop."""
    size = 224 if case["patch"] == 32 else 112
    backbone = load_backbone(checkpoint, precision=case["precision"], image_size=size, device="cpu")
    return read_pairs(pairs), backbone, {"epochs": EPOCHS, "batch_size": BATCH, "rows_at_once": case["rows_at_once"]}


def estimated(case: dict[str, Any], pairs: str, checkpoint: str) -> None:
    """Print the estimate."""
    read, backbone, training = opened(case, pairs, checkpoint)
    time.perf_counter = time.process_time
    found = adapting(read, case["method"], None, backbone, TrainingConfig(**training))
    sys.stderr.write(str(found))
    print(json.dumps({"seconds": found.seconds, "memory": found.memory / 2**20}))


def measured(case: dict[str, Any], pairs: str, checkpoint: str) -> None:
    """Print what the training took."""
    read, backbone, training = opened(case, pairs, checkpoint)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        adapt(read, case["method"], backbone, out=Path(out) / "run", training=training)
    print(json.dumps({"seconds": time.process_time() - start, "memory": peak_megabytes()}))


if __name__ == "__main__":
    main()
