"""Output to other encodings, pipes, links and devices, and readers that leave early."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import crosscue
from crosscue.commands.streams import NAME, take_any_character
from crosscue.storage import atomic_folder, write_json
from crosscue.training.journal import tracked
from tests import tiny
from tests.cli import COMMAND, succeeds
from tests.images import write_source


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source and a run folder whose names look like markup."""
    folder = tmp_path_factory.mktemp("home")
    write_source(folder / "pics [/x] :cat:", train=8, val=4, test=6)
    crosscue.adapt(
        folder / "pics [/x] :cat:",
        "linear_probe",
        str(tiny.clip_folder()),
        out=folder / "run [bold]",
        training={"epochs": 1},
    )
    return folder


def evaluated(home: Path, *options: object) -> str:
    return succeeds("evaluate", home / "run [bold]", "--data", "pics [/x] :cat:", *options, cwd=home)


def test_names_are_printed_as_they_are(home: Path) -> None:
    printed = evaluated(home)
    assert "linear_probe on pics [/x] :cat:/captions.jsonl[test]" in printed
    assert f"report: {home}/run [bold]/report/" in printed
    assert "pics [/x] :cat:" in succeeds("data", "check", "pics [/x] :cat:", cwd=home)


def test_each_evaluation_has_its_own_report(home: Path) -> None:
    pages = {}
    for split in ("test", "val"):
        line = next(line for line in evaluated(home, "--split", split).splitlines() if line.startswith("report: "))
        pages[split] = Path(line.removeprefix("report: "))
    assert pages["test"] != pages["val"]
    for page in pages.values():
        assert page.exists()
    latest = json.loads((home / "run [bold]" / "report" / "report.json").read_text())
    assert latest["after"]["protocol"]["source"].endswith("[val]")


def test_json_has_both_sides_of_a_comparison(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("target.json")
    evaluated(home, "--json", tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    content = json.loads((tmp_path / "target.json").read_text())
    report = json.loads((home / "run [bold]" / "report" / "report.json").read_text())
    assert content["before"] == report["before"]
    assert content["differences"] == report["differences"]
    assert crosscue.Retrieval.from_dict(content).metrics() == crosscue.Retrieval.from_dict(report["after"]).metrics()


@pytest.mark.parametrize("given", [["--json", "-"], ["--json=-"], ["--json", "/dev/stdout"], ["--json"]])
def test_standard_output_can_be_named(home: Path, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert json.loads(succeeds("data", "check", "pics [/x] :cat:", *given))["source"]
    assert not Path("-").exists()


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(timeout=10)
    assert json.loads(read[0]) == {"a": 1}
    assert pipe.is_fifo()


def test_a_link_to_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with atomic_folder(tmp_path / "link") as part:
        (part / "file").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "new"


def test_a_run_folder_that_cannot_be_written_is_evaluated(home: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(home / "run [bold]", tmp_path / "run"))
    shutil.rmtree(run / "report", ignore_errors=True)
    (run / "report").write_text("in the place of the folder")  # refused to root too
    printed = succeeds("evaluate", run, "--data", home / "pics [/x] :cat:", "--json", tmp_path / "result.json")
    assert "no report: " in printed
    assert json.loads((tmp_path / "result.json").read_text())["rsum"] > 0


def test_characters_that_an_encoding_lacks_have_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    for encoding, expected in (("cp1252", b"image -> text \x80 ? ?"), ("ascii", b"image -> text ? ? ?")):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        take_any_character()
        assert sys.stdout.errors == NAME
        sys.stdout.write("image → text € 中 \udcff")
        sys.stdout.flush()
        assert written.getvalue() == expected


def test_a_reader_may_leave_early(home: Path) -> None:
    running = subprocess.Popen([*COMMAND, "methods"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    _, err = running.communicate()
    assert running.returncode == 141
    assert b"Traceback" not in err


def test_a_tracker_waits_for_no_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    with tracked(["tensorboard"], tmp_path) as log:
        assert os.environ["WORLD_SIZE"] == "2"
        log({"loss": 1.0}, 1)
    assert list(tmp_path.rglob("events.*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_closed_or_full_output_is_no_fault_of_the_program() -> None:
    command = f"{sys.executable} -c 'from crosscue.cli import main; main()' methods"
    assert subprocess.run(f"{command} >&- 2>&-", shell=True).returncode == 0
    full = subprocess.run(f"{command} > /dev/full", shell=True, capture_output=True, text=True)
    assert full.returncode == 2
    assert full.stderr.splitlines()[-1] == (
        "crosscue methods: the output cannot be written (No space left on device). Free some space on the disk."
    )
