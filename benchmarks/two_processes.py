"""The speed of `dual_prompt` on two processes with one thread each, against one process with two threads: wall time of the same steps.

    python benchmarks/two_processes.py SOURCE

Each run is a `crosscue adapt` of its own, in turn. The time is what the command prints at its end, which leaves out loading and reading. It
needs two idle cores: on a busy machine no ratio is printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import arguments, busy

WAYS = {"1 process x 2 threads": (1, 2), "2 processes x 1 thread": (2, 1)}
SECONDS = re.compile(r"finished after (\d+) steps and ([\d,]+) s")


def seconds_a_step(source: str, out: Path, processes: int, threads: int) -> float:
    """Train in processes of their own, and return the wall seconds of a step.

    Raises `SystemExit` with the end of its output if a run fails.
    """
    words = ["adapt", "--data", source, "--method", "dual_prompt", "--out", str(out), "--processes", str(processes)]
    words += ["--image_size", "112", "--shots", "1", "--validation", "false"]
    words += ["--training.epochs", "3", "--training.batch_size", "32"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "crosscue", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = SECONDS.search(done.stderr + done.stdout)
    if found is None:
        raise SystemExit(done.stderr[-2000:])
    return int(found[2].replace(",", "")) / int(found[1])


def main() -> None:
    """Train in both ways, round after round, and print the seconds of a step."""
    options = arguments(__doc__ or "", rounds=2)
    reason, taken = busy(), {name: list[float]() for name in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(options.rounds):
            for name, (processes, threads) in WAYS.items():
                seconds = seconds_a_step(options.source, Path(scratch) / f"{processes}-{index}", processes, threads)
                taken[name].append(seconds)
                print(f"{name}  round {index + 1}: {seconds:.2f} s a step", flush=True)
    one, two = (sum(taken[name]) for name in WAYS)
    print(f"no ratio of wall times: {reason}" if reason else f"two processes reach {one / two:.2f} of the speed of one")


if __name__ == "__main__":
    main()
