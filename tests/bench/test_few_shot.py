"""crosscue bench as a user meets it: a process, its files, its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosscue.cli import dispatch
from tests import tiny
from tests.cli import crosscue
from tests.images import write_source

OPTIONS = ["--options.dual_prompt", "{context_tokens: 2}", "--options.dcar", "{context_tokens: 2}"]
SMALL = ["--shots", 1, 2, "--seeds", 1, 2, "--training.epochs", 2, "--precision", "fp32", *OPTIONS]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_source(folder / "a")
    write_source(folder / "b", offset=100)
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("CROSSCUE_CACHE", str(place / "cache"))


def bench(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = dispatch(["bench", *map(str, arguments)])
    return code, *capsys.readouterr()


def crosscue_json(run: Path, data: str, *flags: object) -> dict[str, object]:
    """Returns the result of `crosscue evaluate`."""
    done = crosscue("evaluate", run, "--data", data, "--json", "again.json", *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(Path("again.json").read_text())


def test_few_shot_writes_results_tables_and_curves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", "a", "b", "--backbone", tiny.clip_folder(), *SMALL, "--out", "few"]
    command = ["few-shot", "--methods", "zero_shot", "dual_prompt", "dcar", *given]
    assert "18 jobs, 0 done" in bench(capsys, *command, "--dry_run", "true")[1]
    done = crosscue("bench", *command)
    assert done.returncode == 0, done.stderr
    assert "| dcar |" in done.stdout
    assert "[18/18] dcar on b, 2 shots, seed 2 (about" in done.stderr
    results = json.loads((place / "few" / "results.json").read_text())
    assert len(results["cells"]) == 2 * 2 * 3
    cell = next(c for c in results["cells"] if (c["row"], c["domain"], c["shots"]) == ("dcar", "b", 2))
    seeds = [cell["seeds"][seed]["i2t_r5"] for seed in ("1", "2")]
    assert cell["i2t"]["r5"]["mean"] == pytest.approx(sum(seeds) / 2)
    assert results["galleries"]["a"]["gallery"] == 8
    assert all(cell["normalised"].keys() == cell["seeds"].keys() for cell in results["cells"])
    assert "Normalised, a, 1 shot" in (place / "few" / "leaderboard.md").read_text()
    run = next(place.joinpath("few", "jobs").glob("a-dcar-1shots-seed1-*"))
    again = crosscue_json(run, "a", "--normalise", "bank", "--precision", "fp32")
    kept = json.loads((run / "result-normalise=bank.json").read_text())
    assert again["i2t"] == pytest.approx(kept["i2t"])
    runs = [folder for cell in results["cells"] for folder in cell["runs"].values()]
    assert {*runs} == {folder.name for folder in (place / "few" / "jobs").iterdir()}
    curve = (place / "few" / "shots-a.svg").read_text()
    assert all(f">{text}<" in curve for text in ("zero_shot", "dual_prompt", "dcar", "image → text", "text → image"))
    jobs = {path: path.stat().st_mtime_ns for path in (place / "few" / "jobs").rglob("*") if path.is_file()}
    written = (place / "few" / "results.json").read_bytes()
    assert "18 done, 0 steps to do" in bench(capsys, *command, "--dry_run", "true")[1]
    assert bench(capsys, *command)[0] == 0
    assert (place / "few" / "results.json").read_bytes() == written
    assert {path: path.stat().st_mtime_ns for path in jobs} == jobs, "a job that is there is not run again"


def test_test_images_that_are_learned_from_are_left_out_of_every_row(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = write_source(place / "copied", train=32, val=0)
    (copied / "33.jpg").write_bytes((copied / "5.jpg").read_bytes())
    small = ["--precision", "fp32", "--shots", 2, "--training.epochs", 1]
    given = ["few-shot", "--data", "copied", "--backbone", tiny.clip_folder(), *small]
    code, printed, errors = bench(capsys, *given, "--methods", "zero_shot", "linear_probe", "--out", "less")
    assert code == 0, errors
    assert "Gallery 7 images" in printed
    assert "Left out: 1 test images that are in another split too." in printed
    results = json.loads((place / "less" / "results.json").read_text())
    assert results["galleries"]["copied"] | {"gallery": 7, "left_out": 1} == results["galleries"]["copied"]
    again = bench(capsys, *given, "--methods", "zero_shot", "linear_probe", "--out", "less", "--dry_run", "true")[1]
    assert "0 steps to do" in again
    for number in range(32, 39):
        (copied / f"{number}.jpg").write_bytes((copied / f"{number - 20}.jpg").read_bytes())
    code, _, errors = bench(capsys, *given, "--methods", "zero_shot", "--out", "none")
    assert code == 2
    assert "7 of 8 test images are also in another split, and two others are needed" in errors


def test_zero_shot_is_one_job_a_domain(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["few-shot", "--methods", "zero_shot", "--data", "a", "b", "--dry_run", "true"]
    assert "2 jobs, 0 done" in bench(capsys, *command)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a grid"),
        (["few-shots"], "there is no grid 'few-shots'. Did you mean 'few-shot'?"),
        (["mine.yaml"], "mine.yaml: there is no such file"),
        (["few-shot", "--data", "a"], "no row to measure"),
        (["few-shot", "--methods", "dcra", "--data", "a"], "no method 'dcra'. Did you mean 'dcar'?"),
        (["few-shot", "--methods", "dcar"], "give training pairs"),
        (["few-shot", "--methods", "dcar", "--data", "a", "b/../a"], "two sources are called 'a'"),
        (["few-shot", "--methods", "dcar", "--data", "a/0.jpg"], "this is one image"),
        (["few-shot", "--methods", "dcar", "--data", "a", "--training.patience", 2], "rows take equal steps"),
        (["few-shot", "--methods", "dcar", "--data", "a", "--training.seed", 2], "Use --seeds"),
        (["few-shot", "--methods", "dcar", "--data", "a", "--seeds", 1, 1], "give at least one, and none twice"),
        (["few-shot", "--methods", "dcar", "--data", "a", "--shots"], "shots is []: give at least one"),
        (
            ["few-shot", "--data", "a", "--rows", '[{"method": "dcar", "training": {"epochs": 2}}]'],
            "training.epochs is the same for all rows",
        ),
        (
            ["few-shot", "--data", "a", "--rows", '[{"method": "dcar", "options": {"dpeth": 2}}]'],
            "Did you mean 'depth'?",
        ),
        (
            ["few-shot", "--data", "a", "--rows", '[{"method": "coop", "inference": {"rerank": true}}]'],
            "row 'coop': method 'coop' has no scores of pairs to re-rank by",
        ),
        (
            ["few-shot", "--data", "a", "--rows", '[{"method": "action", "inference": {"top": 0}}]'],
            "top is 0; it must be at least 1",
        ),
    ],
)
def test_mistakes_are_found_before_any_job(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[object], words: str
) -> None:
    code, _, stderr = bench(capsys, *arguments)
    assert code == 2
    assert stderr.startswith("crosscue bench: ")
    assert len(stderr.splitlines()) == 1
    assert words in stderr
    assert not (place / "runs").exists()


def test_one_run_is_evaluated_in_several_ways(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = [{"label": f"top {top}", "inference": {"rerank": True, "top": top}} for top in (2, 3, 20)]
    ways.append({"label": "plain", "inference": {"rerank": False}})
    ways.append({"label": "centred", "inference": {"rerank": True, "top": 2, "centre": True}})  # a bank is not centred
    rows = [{"method": "action", "options": {"second_stage_epochs": 1, "knowledge": "spacy"}} | way for way in ways]
    given = ["few-shot", "--data", "a", "--backbone", tiny.clip_folder(), "--seeds", 1, "--shots", 2]
    code, _, stderr = bench(
        capsys, *given, "--rows", json.dumps(rows), "--training.epochs", 2, "--precision", "fp32", "--out", "rows"
    )
    assert code == 0, stderr
    (job,) = (place / "rows" / "jobs").iterdir()
    assert {file.name for file in job.glob("result*.json")} == {
        "result-rerank=True-top=2.json",
        "result-rerank=True-top=3.json",
        "result-rerank=True.json",
        "result-rerank=False.json",
        "result-normalise=bank-rerank=False.json",
        "result-normalise=bank-rerank=True-top=2.json",
        "result-normalise=bank-rerank=True-top=3.json",
        "result-normalise=bank-rerank=True.json",
        "result-centre=True-rerank=True-top=2.json",
    }
    kept = json.loads((job / "result-normalise=bank-rerank=True-top=3.json").read_text())
    flags = ("--normalise", "bank", "--rerank", "true", "--top", 3, "--precision", "fp32")
    again = crosscue_json(job, "a", *flags)
    assert (again["i2t"], again["t2i"]) == (pytest.approx(kept["i2t"]), pytest.approx(kept["t2i"]))
    assert "re-ranking" in kept["protocol"] and kept["protocol"]["normalised"] == "bank"
    cells = json.loads((place / "rows" / "results.json").read_text())["cells"]
    assert [cell["row"] for cell in cells] == ["top 2", "top 3", "top 20", "plain", "centred"]
    assert all(cell["normalised"].keys() == cell["seeds"].keys() for cell in cells[:4])
    assert not cells[4]["normalised"]
