"""Runs of several processes: their gradients and results are those of one, and none of their ends is a hang."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import crosscue
from crosscue.cli import main
from crosscue.errors import OptionError
from crosscue.testing.backbones import FOLDERS
from crosscue.training.journal import read_journal
from crosscue.training.processes import ALONE, Processes
from tests.cli import refused, succeeds
from tests.forks import forked
from tests.images import write_source
from tests.training.ranks import RUNS, STEPS, TRAINED, combinations, options_of, work
from tests.training.runs import learned

pytestmark = [pytest.mark.processes, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def variables(folder: Path) -> dict[str, str]:
    """The variables of `tests.training.ranks`."""
    return {"PLACE": str(folder), "TINY": json.dumps({family: str(make()) for family, make in FOLDERS.items()})}


def found_by(count: int, folder: Path) -> dict[str, dict[str, Any]]:
    """The file that so many processes wrote."""
    return json.loads((folder / f"found_by_{count}.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and runs of this module."""
    folder = write_source(tmp_path_factory.mktemp("ranks"), train=32, val=8, test=8)
    write_source(folder / "data", train=31, val=8, test=8)
    write_source(folder / "images", offset=99, train=32, val=8, test=8)
    return folder


@pytest.fixture(scope="module")
def of_two(place: Path) -> dict[str, dict[str, Any]]:
    """All that two processes found, started once."""
    parts = ("gradients_of_two", "rounded", "adapted", "refused", "first", "apart", "fault", "silent")
    command = [*TORCHRUN, "--nproc_per_node=2", "-m", "tests.training.ranks", *parts]
    environment = {**os.environ, **variables(place), "CROSSCUE_CACHE": str(place / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return found_by(2, place)


def assert_equal_gradients(found: dict[str, float], *families: str) -> None:
    assert len(found) == len(list(combinations(list(families)))) >= len(TRAINED)
    worst = max(found, key=lambda name: found[name])
    assert found[worst] <= 1e-5, f"{worst}: {found[worst]}"


def test_the_gradients_of_two_are_those_of_one(of_two: dict[str, dict[str, Any]]) -> None:
    assert_equal_gradients(of_two["gradients_of_two"], "clip")
    assert of_two["rounded"]["cosine"] >= 0.999
    assert of_two["rounded"]["state"] <= 0.02


def in_forks(count: int, monkeypatch: pytest.MonkeyPatch, errors: Path, work: Callable[..., Any], *given: Any) -> None:
    """Runs a function in so many forks with the variables of torchrun, whose store is here."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launched = {"TORCHELASTIC_RUN_ID": "forks", "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": str(count)}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    processes = []
    for rank in map(str, range(count)):
        with monkeypatch.context() as patch:
            for name, value in {**launched, **where, "RANK": rank, "LOCAL_RANK": rank}.items():
                patch.setenv(name, value)
            processes.append(forked(work, *given, errors=errors / f"errors-{rank}-of-{count}.txt"))
    for process in processes:
        process.join()
    said = (errors / f"errors-0-of-{count}.txt").read_text()
    assert [process.exitcode for process in processes] == [0] * count, said[-3000:]


def test_the_gradients_of_three_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    in_forks(3, monkeypatch, tmp_path, work, "gradients_of_three")
    assert_equal_gradients(found_by(3, tmp_path)["gradients_of_three"], "dual", "siglip2")


def test_two_train_what_one_trains(of_two: dict[str, dict[str, Any]], place: Path) -> None:
    assert of_two["adapted"] == dict.fromkeys(RUNS, 1)  # the processes among themselves, bit for bit
    for method, options in RUNS.items():
        run = crosscue.adapt(
            *(place, method, str(FOLDERS["clip"]())),
            **{
                "out": place / f"{method}_on_1",
                "options": options,
                "training": options_of(method),
                "precision": "fp32",
            },
        )
        both = learned(place / f"{method}_on_1"), learned(place / f"{method}_on_2")
        assert max(float((both[0][name] - both[1][name]).abs().max()) for name in both[0]) <= 1e-5
        journals = [read_journal(place / f"{method}_on_{count}" / "metrics.jsonl") for count in (1, 2)]
        assert [line["step"] for line in journals[0]] == [line["step"] for line in journals[1]]
        assert run.outcome is not None
        assert run.outcome.steps == STEPS[method]
    starts = json.loads((place / "dcar_on_2" / "environment.json").read_text())["starts"]
    assert starts == [{"processes": 2, "rows_at_once": None}]
    assert list((place / "dcar_on_2").rglob("events.*"))


def test_processes_that_were_given_different_things_are_refused(of_two: dict[str, dict[str, Any]], place: Path) -> None:
    messages = of_two["refused"]
    assert all(
        messages[f"{what} 0"] == messages[f"{what} 1"] for what in ("data", "images", "version", "weights", "seed")
    )
    assert "process 1 has other data (fingerprint of train " in messages["data 0"]
    assert messages["data 0"].endswith("Give all the same --data.")
    assert "process 1 has other images (train.0 " in messages["images 0"]
    assert "process 1 has other versions (crosscue 0.0.1, process 0" in messages["version 0"]
    assert "process 1 has other weights" in messages["weights 0"]
    assert "process 1 has other options (training.seed 7, process 0 1)" in messages["seed 0"]
    assert not list(place.glob("refused_*/metrics.jsonl"))


def test_the_first_process_works_before_the_others(of_two: dict[str, dict[str, Any]]) -> None:
    assert of_two["first"]["least"] >= 0.2e9


def test_tensors_that_differ_a_little_become_those_of_process_0(of_two: dict[str, dict[str, Any]]) -> None:
    found = of_two["apart"]
    assert found["none 0"] == found["none 1"] == found["little 0"] == found["little 1"] == 3.0
    assert "trained different parameters, 1.0e+00 apart" in found["much 0"] == found["much 1"]


def test_a_method_that_encodes_on_one_process_ends_with_its_name(
    of_two: dict[str, dict[str, Any]], place: Path
) -> None:
    messages = of_two["fault"]
    assert messages["0"] == messages["1"]
    assert "process 0 is at 'the rows (4, 96)' and process 1 at 'the rows (4, 128)'" in messages["0"]
    assert "at step 5. The run has no checkpoint yet." in messages["0"]


def test_a_process_that_does_not_answer_is_named(of_two: dict[str, dict[str, Any]], place: Path) -> None:
    message = (place / "silent0.txt").read_text()
    assert message.startswith(
        "process 0 waited for process 1, which did not come to 'the end of a step', at step 5. The run"
    )


# --- kills and stops ------------------------------------------------------------------------------------------------------


def command(place: Path, out: Path, count: int, *more: object) -> list[str]:
    """The command that trains `dual_prompt` as in `RUNS`."""
    start = RUNS["dual_prompt"]["image_start_layer"]
    loop = {
        "epochs": STEPS["dual_prompt"] // 4,
        "batch_size": 8,
        "lr": 0.05,
        "schedule": "cosine",
        "checkpoint_every": 5,
    }
    words = [word for name, value in loop.items() for word in (f"--training.{name}", value)]
    given = ["--data", place, "--method", "dual_prompt", "--backbone", FOLDERS["clip"](), "--precision", "fp32"]
    every = [*given, *words, "--options.image_start_layer", start, "--out", out, "--processes", count, *more]
    return [sys.executable, "-m", "crosscue", "adapt", *map(str, every)]


def begun(words: list[str], out: Path, steps: int) -> tuple[subprocess.Popen[str], dict[int, int]]:
    """Starts a command; returns it and the process ids of its ranks once the journal has so many steps."""
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while max((line["step"] for line in read_journal(out / "metrics.jsonl")), default=0) < steps:
        assert running.poll() is None, running.communicate()[1][-3000:]
        time.sleep(0.01)
    found = {}
    for child in children.read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(entry[5:]): int(child) for entry in environment if entry.startswith(b"RANK=")}
    return running, found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the ranks of a command are found in /proc")
def test_killed_stopped_and_resumed_on_other_numbers(
    of_two: dict[str, dict[str, Any]], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of one rank, then SIGTERM to one rank, then the end on 2, 1 and 3 processes; the cache is empty at first."""
    monkeypatch.setenv("CROSSCUE_CACHE", str(place / "empty"))
    out, victim = place / "cut", random.Random().randrange(2)
    running, pids = begun(command(place, out, 2), out, random.Random().randrange(1, 12))
    assert sorted(pids) == [0, 1]
    os.kill(pids[victim], signal.SIGKILL)
    killed = time.monotonic()
    output, errors = running.communicate(timeout=30)
    assert time.monotonic() - killed < 15
    assert running.returncode == 1, errors
    last = errors.splitlines()[-1]
    step = max(line["step"] for line in read_journal(out / "metrics.jsonl"))
    assert f"process {victim} of 2 ended (signal 9) at step {step + 1}. " in last
    assert "Traceback" not in errors
    saved = out / "checkpoints" / "last" / "position.json"
    stands = (
        f"The run stands at step {json.loads(saved.read_text())['step']}. Go on" if saved.exists() else "no checkpoint"
    )
    assert stands in last
    assert (
        len(list((place / "empty" / "states").rglob("keys.bin"))) == 2
    )  # of training and of validation images, once each

    running, pids = begun(command(place, out, 2, "--resume"), out, 20)
    os.kill(pids[1], signal.SIGTERM)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "interrupted after" in output
    position = json.loads((out / "checkpoints" / "last" / "position.json").read_text())
    assert position["step"] == max(line["step"] for line in read_journal(out / "metrics.jsonl"))

    for count in (1, 3):
        shutil.copytree(out, place / f"cut_on_{count}")
    succeeds(*command(place, place / "cut_on_1", 1, "--resume")[3:])  # in this process
    for folder, count in ((place / "cut_on_3", 3), (out, 2)):
        in_forks(count, monkeypatch, place, main, command(place, folder, 1, "--resume")[3:])
    whole = learned(place / "dual_prompt_on_2")
    assert all(torch.equal(whole[name], tensor) for name, tensor in learned(out).items())
    for count in (1, 3):
        for name, tensor in learned(place / f"cut_on_{count}").items():
            torch.testing.assert_close(tensor, whole[name], rtol=0, atol=1e-5)
    starts = json.loads((place / "cut_on_3" / "environment.json").read_text())["starts"]
    assert [start["processes"] for start in starts[-2:]] == [2, 3]


# --- words --------------------------------------------------------------------------------------------------------------


def test_a_process_that_does_not_come_is_named(place: Path) -> None:
    launched = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
    words = [*command(place, place / "late", 1), "--timeout", "2"]
    ended = subprocess.run(words, env=os.environ | launched | where, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "process 1 of 2 did not come within 2 s (127.0.0.1:29517). Are all started" in ended.stderr


def test_only_torchrun_makes_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.found(1) == ALONE


def test_numbers_of_processes_that_cannot_be(place: Path) -> None:
    given = ("adapt", "--data", place, "--backbone", FOLDERS["clip"]())
    assert "processes is 0; it must be at least 1" in refused(*given, "--method", "coop", "--processes", 0)
    many = refused(*given, "--method", "coop", "--training.batch_size", 4, "--processes", 8)
    assert "training.batch_size is 4, and 8 processes need a row each. Use at most 4" in many
    auto = refused(*given, "--processes", 2)
    assert "method auto runs on 1 process, and there are 2. Leave --processes out, or name a method." in auto
    folds = refused(*given, "--method", "coop", "--processes", 2, "--folds", 3)
    assert "--folds runs on 1 process, and there are 2. Leave --processes out." in folds
    with pytest.raises(OptionError, match="2 processes of this machine need a GPU each, and it has 0"):
        Processes(world=2).require_devices(torch.device("cuda"))
    Processes(world=2).require_devices(torch.device("cpu"))
    with pytest.raises(OptionError, match="--folds runs on 1 process"):
        Processes(world=2).refuse("--folds")
