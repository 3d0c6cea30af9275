"""A grid that was killed goes on where it stopped, and ends with the same results."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from crosscue.cli import main
from crosscue.training.journal import Journal, read_journal
from tests import tiny
from tests.cli import crosscue
from tests.forks import forked
from tests.images import write_source


def slow(arguments: list[str]) -> None:
    """Runs the command, and waits after each line of a journal."""
    write = Journal.write

    def writing(*given: Any) -> None:
        write(*given)
        time.sleep(0.2)

    Journal.write = writing  # type: ignore[method-assign]
    main(arguments)


def bench_arguments(out: str) -> list[str]:
    rows = (
        '[{"method": "zero_shot"}, {"method": "dual_prompt", "options": {"context_tokens": 2}}, '
        '{"method": "dcar", "options": {"context_tokens": 2}}]'
    )
    loop = ["--training.epochs", "6", "--training.checkpoint_every", "1", "--training.batch_size", "4"]
    given = ["--data", "a", "--backbone", str(tiny.clip_folder()), "--precision", "fp32", "--shots", "2"]
    return ["bench", "few-shot", "--rows", rows, *given, "--seeds", "1", "2", *loop, "--out", out]


def stopped(place: Path, number: int, environment: dict[str, str]) -> tuple[int, str]:
    """Starts the grid, sends a signal while a job is in the middle of training after another one ended."""
    errors = place / f"errors-{number}.txt"
    with patch.dict(os.environ, environment):
        process = forked(slow, bench_arguments("cut"), cwd=place, errors=errors)
    jobs = place / "cut" / "jobs"
    before = len(list(jobs.glob("*/training.json")))
    deadline = time.monotonic() + 240
    while True:
        done = [path.parent for path in jobs.glob("*/training.json")]
        under_way = [path for path in jobs.glob("*/metrics.jsonl") if path.parent not in done]
        if len(done) > before and any(len(path.read_text().splitlines()) >= 5 for path in under_way):
            break
        assert process.is_alive(), "it ended before it could be stopped"
        assert time.monotonic() < deadline, "it did not come to the middle of a job"
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert not (place / "cut" / "results.json").exists()
    assert process.exitcode is not None
    return process.exitcode, errors.read_text()


@pytest.mark.slow
def test_interrupted_and_killed_and_continued(tmp_path: Path) -> None:
    """Ctrl-C in the second of five jobs, kill -9 in the third; results.json is the same, byte by byte, as without."""
    write_source(tmp_path / "a")
    environment = {"CROSSCUE_CACHE": str(tmp_path / "cache")}
    code, stderr = stopped(tmp_path, signal.SIGINT, environment)
    assert code == 130
    assert "the same command goes on" in stderr
    code, _ = stopped(tmp_path, signal.SIGKILL, environment)
    assert code == -signal.SIGKILL
    jobs = tmp_path / "cut" / "jobs"
    finished = {path: path.stat().st_mtime_ns for path in jobs.glob("*/training.json")}
    assert len(finished) == 2
    continued = crosscue(*bench_arguments("cut"), cwd=tmp_path, **environment)
    assert continued.returncode == 0, continued.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "finished jobs are not run again"
    whole = crosscue(*bench_arguments("whole"), cwd=tmp_path, **environment)
    assert whole.returncode == 0, whole.stderr
    for name in ("results.json", *(f"jobs/{job.name}/result.json" for job in jobs.iterdir())):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.slow
def test_a_job_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    write_source(tmp_path / "a")
    with patch.dict(os.environ, {"CROSSCUE_CACHE": str(tmp_path / "cache")}):
        first = forked(slow, bench_arguments("one"), cwd=tmp_path, errors=tmp_path / "first.txt")
        jobs = tmp_path / "one" / "jobs"
        deadline = time.monotonic() + 240
        while not any(path.read_text() for path in jobs.glob("*/metrics.jsonl")):
            assert first.is_alive() and time.monotonic() < deadline, (tmp_path / "first.txt").read_text()
            time.sleep(0.05)
        second = crosscue(*bench_arguments("other"), "--jobs", "one/jobs", cwd=tmp_path)
        first.join()
    assert (first.exitcode, second.returncode) == (0, 0), second.stderr
    assert "another process trains this job; this one waits for it" in second.stderr
    one, other = (tmp_path / name / "results.json" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    for journal in jobs.glob("*/metrics.jsonl"):
        steps = [line["step"] for line in read_journal(journal) if line["kind"] == "train"]
        assert steps == list(range(1, len(steps) + 1)), journal
