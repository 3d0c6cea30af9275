"""The functions that each fast test calls, recorded once a test file, and forked processes that run tests."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "crosscue"
ROOMS = ("methods", "losses", "retrieval", "evaluation")
TESTS = (*ROOMS, "training/test_optimisers.py", "test_idle_options.py")
FAST = "not slow and not starter and not network"
Calls = dict[str, tuple[float, list[str]]]
"""Test -> its CPU seconds, and the functions it calls as `file:name`."""


def digest(*parts: str) -> str:
    """Return twelve hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def run_tests(arguments: list[str], plugins: list[object]) -> int:
    """Run pytest until the first failure, and return its exit code."""
    import pytest

    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments], plugins))


def forked(work: Callable[[], int], cpu: float) -> int:
    """Run `work` in a forked process with a limit of CPU seconds and a temporary folder of its own.

    Returns:
        The exit code; negative for the signal that ended the process, 70 for an exception.
    """
    sys.stdout.flush()
    scratch = tempfile.mkdtemp(prefix="mutant")
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 5))
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = 70
        with contextlib.suppress(BaseException):
            code = work()
        os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, 9)
    shutil.rmtree(scratch, ignore_errors=True)
    return status


class CallTrace:
    """A pytest plugin that records the functions of the rooms that each passing test calls."""

    def __init__(self) -> None:
        self.names: dict[CodeType, str] = {}
        self.called: set[str] = set()
        self.calls: Calls = {}

    def trace(self, frame: FrameType, event: str, arg: object) -> None:
        """Record the function of a frame; lines are not traced."""
        name = self.names.get(frame.f_code)
        if name is None:
            path = Path(frame.f_code.co_filename)
            inside = path.is_relative_to(SOURCE) and path.relative_to(SOURCE).parts[0] in ROOMS
            name = f"{path.relative_to(SOURCE)}:{frame.f_code.co_qualname}" if inside else ""
            self.names[frame.f_code] = name
        if name:
            self.called.add(name)

    def pytest_runtest_logstart(self) -> None:
        """Begin with no functions."""
        self.called, self.start = set(), time.process_time()
        sys.settrace(self.trace)

    def pytest_runtest_logreport(self, report: object) -> None:
        """Keep the functions of a test that passed."""
        if report.when == "call" and report.passed:  # type: ignore[attr-defined]
            seconds = round(time.process_time() - self.start, 3)
            self.calls[report.nodeid] = (seconds, sorted(self.called))  # type: ignore[attr-defined]


def recorded(out: Path) -> Calls:
    """Return the calls of all fast tests, and import their libraries, so that a forked process only imports this project.

    A file of tests is recorded again when it has changed. An interrupted recording continues.
    """
    file, part = out / "calls.json", out / "part.json"
    kept = json.loads(file.read_text()) if file.exists() else {"calls": {}, "modules": []}
    paths = [
        path
        for name in TESTS
        for path in sorted((ROOT / "tests").glob(name if name.endswith(".py") else f"{name}/test_*.py"))
    ]
    wanted = {f"{path.relative_to(ROOT)} {digest(path.read_text())}": path for path in paths}
    kept["calls"] = {key: calls for key, calls in kept["calls"].items() if key in wanted}
    load(kept["modules"])
    for key in sorted(wanted.keys() - kept["calls"].keys()):

        def work(path: Path = wanted[key]) -> int:
            trace = CallTrace()
            code = run_tests([str(path), "-m", FAST, "--maxfail=1000"], [trace])
            part.write_text(json.dumps([trace.calls, sorted(sys.modules)]))
            return code

        code = forked(work, 900)
        kept["calls"][key], modules = json.loads(part.read_text())
        print(f"recorded {key.split()[0]}: {len(kept['calls'][key])} tests, exit code {code}", flush=True)
        part.unlink()
        kept["modules"] = sorted({*kept["modules"], *modules})
        file.write_text(json.dumps(kept))
    load(kept["modules"])
    return {test: entry for calls in kept["calls"].values() for test, entry in calls.items()}


def load(modules: list[str]) -> None:
    """Import the libraries among `modules`."""
    for name in modules:
        if name.split(".")[0] not in ("crosscue", "tests", "__main__", "conftest") and name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
