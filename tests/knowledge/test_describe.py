"""`crosscue describe captions` as a user meets it: killed, stopped, resumed, reviewed, and read by what comes next."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crosscue.cli import dispatch
from crosscue.data.sources import read_pairs
from crosscue.knowledge.captions.negatives import DEFECTS
from crosscue.locks import sole_run
from tests.knowledge.conftest import Serve, draw
from tests.knowledge.server import COLOURS, Scripted, describe_like_a_model, error

CLASSES = ("Basset_Hound", "Shiba_Inu", "Abyssinian")
KEPT = ("captions.jsonl", "review.csv", "report.json", "report.md")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class sub-folders of real JPEGs; the scripted model sees their colour and width."""
    folder = tmp_path_factory.mktemp("user") / "my pets"
    width = 60
    for split in ("train", "test"):
        for name in CLASSES:
            for _ in range(6):
                draw(folder / split / name / f"{width}.jpg", list(COLOURS)[width % 4], width)
                width += 1
    return folder


def options(source: Path, out: Path, script: Scripted, *more: object) -> list[str]:
    given = ["--out", out, "--writing.domain", "pets", "--tokens_of", "words", "--writing.max_tokens", 40]
    for role in ("writer", "judge"):
        given += [f"--{role}.base_url", script.url, f"--{role}.model", f"{role}-1", f"--{role}.concurrency", 3]
        given += [f"--{role}.retries", 0]
    return ["describe", "captions", str(source), *map(str, given), *map(str, more)]


def process(*arguments: Any) -> subprocess.Popen[str]:
    """The command as a process that can be killed."""
    code = "from crosscue.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, *options(*arguments)], stderr=subprocess.PIPE, text=True)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def describe(*arguments: Any) -> Done:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dispatch(options(*arguments))
    return Done(code, out.getvalue(), err.getvalue())


def outputs(out: Path) -> dict[str, bytes]:
    """Every result: the final files and each stage's."""
    found = {name: (out / name).read_bytes() for name in KEPT}
    return found | {f"stages/{path.name}": path.read_bytes() for path in sorted((out / "stages").iterdir())}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def replies_kept(out: Path) -> int:
    try:
        with sqlite3.connect(f"file:{out / 'replies.sqlite'}?mode=ro", uri=True) as kept:
            return int(kept.execute("SELECT count(*) FROM replies").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.fixture(scope="module")
def whole(source: Path, serve: Serve) -> tuple[Path, Scripted]:
    """An uninterrupted run, and its server's log."""
    out = source.parent / "whole"
    script = serve(describe_like_a_model)
    done = describe(source, out, script)
    assert done.returncode == 1, done.stderr  # six images are refused: not accepted, and said so
    assert "not accepted: 6 images have no caption" in done.stdout
    before = len(script.log)
    again = describe(source, out, script)
    assert len(script.log) == before, "a finished run sends nothing"
    assert "calls: 0 now" in again.stdout
    return out, script


def test_every_caption_names_its_class_and_has_no_noise(whole: tuple[Path, Scripted]) -> None:
    pairs = rows(whole[0] / "captions.jsonl")
    assert len(pairs) == 30
    for pair in pairs:
        (caption,) = pair["captions"]
        assert pair["category"] in caption and pair["category"] in ("Basset Hound", "Shiba Inu", "Abyssinian")
        assert not any(noise in caption for noise in ("image", "**", "```", "Let me know"))
        assert caption.endswith(".") and "a Abyssinian" not in caption and len(caption.split()) <= 40
        assert (whole[0] / pair["image"]).is_file()
        assert pair["split"] in ("train", "test")
    assert whole[1].repeated() == []


def test_what_models_did_wrong_is_flagged(whole: tuple[Path, Scripted]) -> None:
    report = json.loads((whole[0] / "report.json").read_text())
    assert report["flags"]["refused"] == 6
    assert report["flags"]["judge_malformed"] == 4  # widths that seven divides, without the refused ones
    assert report["flags"]["prefixed"] == 6
    assert report["class_present"] == 1.0 and not report["class_missing"]
    assert report["duplicate_rows"] == 0  # equal drafts were distinguished by the writer
    assert report["tokens"]["maximum"] <= 40
    malformed = [received for received in whole[1].log if "cannot be used" in received.question]
    assert len(malformed) == 4 * 1, "one re-ask each"
    records = rows(whole[0] / "stages" / "2-judge.jsonl")
    revised = [record for record in records if len(record["rounds"]) == 2]
    assert revised and all("wooden floor" in record["caption"] for record in revised)
    assert "not accepted" in (whole[0] / "report.md").read_text()


def test_negatives_are_wrong_and_clean(whole: tuple[Path, Scripted]) -> None:
    pairs = read_pairs(whole[0])
    audit = json.loads((whole[0] / "report.json").read_text())["negatives"]
    assert set(audit["defects"]) == set(DEFECTS) and not any(audit["defects"].values())
    taken = [pair for pair in pairs if pair.captions[0].endswith("coat stands in a garden.")]
    assert len(taken) == 6, "one image of each class and colour: with another class's name they say what another says"
    assert audit["counts"]["category"] == 2 * (len(pairs) - len(taken)) and audit["counts"]["attribute"] > 0
    for pair in pairs:
        others = {category for category in pairs.categories if category != pair.category and pair not in taken}
        assert {n.by for n in pair.negatives if n.type == "category"} == others
        assert all(str(pair.category) in n.text for n in pair.negatives if n.type == "attribute")
        assert not any(str(pair.category) in n.text for n in pair.negatives if n.type == "category")


def test_the_label_reaches_no_model_without_the_hint(whole: tuple[Path, Scripted]) -> None:
    drafts = [received for received in whole[1].log if received.body["model"] == "writer-1" and received.images()]
    first = [received for received in drafts if "Describe this picture" in received.question]  # words: ok
    assert len(first) == 36
    assert not [received for received in first if any(name.split("_")[0] in received.question for name in CLASSES)]


def test_killed_runs_resume_to_the_same_bytes_without_a_repeated_call(
    source: Path, whole: tuple[Path, Scripted], serve: Serve
) -> None:
    out = source.parent / "killed"
    total = len(whole[1].log)
    script = serve(describe_like_a_model)
    for share in (0.2, 0.6):  # once while drafting, once while judging
        script.hold_after = int(total * share)
        running = process(source, out, script)
        until(lambda: len(script.answered()) == script.hold_after and replies_kept(out) == script.hold_after)
        running.send_signal(signal.SIGKILL)
        running.communicate()
    (torn,) = [path for path in (out / "stages").iterdir() if path.name.startswith("2-")]
    with torn.open("a", encoding="utf-8") as file:
        file.write('{"made_from": "0", "id": "trai')  # what a kill in the middle of a write leaves
    script.hold_after = None
    script.release.set()
    done = describe(source, out, script)
    assert done.returncode == 1, done.stderr
    assert outputs(out) == outputs(whole[0])
    assert script.repeated() == []
    assert len(script.answered()) == total


def test_ctrl_c_finishes_what_is_under_way_and_goes_on(
    source: Path, whole: tuple[Path, Scripted], serve: Serve
) -> None:
    out = source.parent / "interrupted"
    script = serve(describe_like_a_model, delay=0.05)
    running = process(source, out, script)
    until(lambda: len(script.answered()) >= 10)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "Run the same command again" in said and "Traceback" not in said
    assert replies_kept(out) == len(script.answered()) < 40
    script.delay = 0.0
    assert describe(source, out, script).returncode == 1
    assert outputs(out) == outputs(whole[0])
    assert script.repeated() == []


def test_a_cap_stops_and_raising_it_goes_on(source: Path, whole: tuple[Path, Scripted], serve: Serve) -> None:
    out = source.parent / "capped"
    script = serve(describe_like_a_model)
    done = describe(source, out, script, "--limits.max_calls", 20)
    assert done.returncode == 2
    assert (
        "crosscue describe captions: stopped before max_calls 20" in done.stderr and len(done.stderr.splitlines()) == 1
    )
    assert len(script.log) == 20
    assert not (out / "captions.jsonl").exists()
    assert describe(source, out, script, "--limits.max_calls", 1000).returncode == 1
    assert outputs(out) == outputs(whole[0])
    assert script.repeated() == []


def test_one_question_without_an_answer_does_not_stop_the_others(
    source: Path, whole: tuple[Path, Scripted], serve: Serve
) -> None:
    out = source.parent / "unanswered"
    failing = {64, 70}

    def answer(received: Any, number: int) -> Any:
        if failing & {image.width for image in received.images()}:
            return error(500, "worker died")
        return describe_like_a_model(received, number)

    script = serve(answer)
    done = describe(source, out, script)
    assert done.returncode == 2
    assert "2 records got no answer while drafting captions" in done.stderr
    assert len(rows(out / "stages" / "1-draft.jsonl")) == 34
    failing.clear()
    assert describe(source, out, script).returncode == 1
    assert outputs(out) == outputs(whole[0])
    assert script.repeated() == []


def test_a_server_that_is_down_stops_the_run_soon(source: Path, serve: Serve) -> None:
    script = serve(error(503, "overloaded"))
    done = describe(source, source.parent / "down", script)
    assert done.returncode == 2 and "HTTP 503 after 1 tries (overloaded)" in done.stderr
    assert len(script.log) < 15


def test_review_and_what_comes_next(source: Path, whole: tuple[Path, Scripted], serve: Serve) -> None:
    out = source.parent / "reviewed"
    script = serve(describe_like_a_model)
    describe(source, out, script)
    sent = len(script.log)
    with (out / "review.csv").open(newline="", encoding="utf-8") as file:
        queue = list(csv.DictReader(file))
    flagged = {record["id"] for record in rows(out / "stages" / "8-review.jsonl") if record["flags"]}
    assert flagged <= {row["id"] for row in queue}
    edited = next(row for row in queue if "refused" in row["flags"])
    for row in queue:
        row["decision"] = "drop" if "refused" in row["flags"] else "keep"
    edited["decision"], edited["new_caption"] = "edit", f"a sleepy {edited['class']} on a lawn"
    with (out / "review.csv").open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
        table = csv.DictWriter(file, queue[0])
        table.writeheader()
        table.writerows(queue)
    done = describe(source, out, script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(script.log) == sent, "decisions cost nothing"
    pairs = {row["image_id"]: row["captions"] for row in rows(out / "captions.jsonl")}
    assert len(pairs) == 31
    assert pairs[edited["id"]] == [f"A sleepy {edited['class']} on a lawn."]
    assert json.loads((out / "report.json").read_text())["accepted"] is True
    assert describe(source, out, script).returncode == 0, "decisions survive another run"

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert dispatch(["data", "check", str(out)]) == 0
    assert "nothing stands in the way" in said.getvalue()

    queue[0]["decision"] = "perhaps"
    with (out / "review.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, queue[0])
        table.writeheader()
        table.writerows(queue)
    refused = describe(source, out, script)
    assert refused.returncode == 2
    assert "review.csv line 2: decision 'perhaps' is none of keep, edit, drop." in refused.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--judge.base_url", "", "--judge.model", ""], "there is no judge"),
        (["--writer.base_url", ""], "the writer has no endpoint"),
        (["--limits.max_spend", "1"], "max_spend needs prices"),
        (["--writing.domain", "pet"], "Did you mean 'pets'"),
        (["--aliases", "nowhere.yaml"], "nowhere.yaml: there is no such file"),
    ],
)
def test_mistakes_are_one_line(source: Path, serve: Serve, more: list[str], message: str) -> None:
    script = serve("never requested")
    done = describe(source, source.parent / "mistaken", script, *more)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert script.log == []


def test_two_runs_do_not_share_a_folder(source: Path, serve: Serve) -> None:
    script = serve("never requested")
    with sole_run(source.parent / "busy"):
        done = describe(source, source.parent / "busy", script)
    assert done.returncode == 2 and "another run is writing here" in done.stderr
    assert script.log == []
