"""The command line as a user meets it: its files, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from crosscue import __version__
from crosscue.commands.adapt import BEGINNING
from tests import tiny
from tests.cli import crosscue, process, refused, succeeds
from tests.images import draw_noise

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("user")
    rows = []
    for number in range(30):
        draw_noise(folder / f"{number}.jpg", number)
        split = "train" if number < 16 else "val" if number < 22 else "test"
        rows.append(
            {"image": f"{number}.jpg", "caption": f"a red thing {number}", "category": "ab"[number % 2], "split": split}
        )
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    unnamed = [{key: value for key, value in row.items() if key != "category"} for row in rows]
    (folder / "uncategorised.jsonl").write_text("\n".join(map(json.dumps, unnamed)))
    (folder / "wrong.yaml").write_text("training: {epocs: 3}")
    (folder / "flat.yaml").write_text("training: 3")
    (folder / "latin.yaml").write_bytes(b"method: caf\xe9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSCUE_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def adapted(place: Path) -> Path:
    done = process(
        "adapt",
        "--method",
        "dual_prompt",
        "--data",
        "pairs.jsonl",
        "--backbone",
        tiny.clip_folder(),
        "--out",
        "run",
        "--training.epochs",
        2,
        "--options.context_tokens",
        2,
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    assert "finished after 2 steps" in done.stdout
    return place / "run"


def test_help_and_import_are_quick() -> None:
    def seconds(code: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        return min(times)

    start = seconds("pass")
    assert seconds("import crosscue") - start < 0.3
    assert seconds("from crosscue.cli import dispatch; dispatch(['--help'])") - start < 0.7
    loaded = "import sys, crosscue, crosscue.cli; print(','.join(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split(
        ","
    )
    assert not {"torch", "transformers", "datasets", "numpy", "matplotlib", "jsonargparse"} & set(modules)


def test_help_names_every_verb_and_option() -> None:
    text = process("--help").stdout
    for verb in ("adapt", "evaluate", "data", "methods", "demo"):
        assert f"  {verb} " in text
    text = crosscue("adapt", "--method", "dual_prompt", "--help-all").stdout
    for option in ("--data", "--backbone", "--training.lr", "--options.context_tokens", "--resume", "--print_config"):
        assert option in text, option
    assert "Number of learned vectors" in text
    short = crosscue("adapt", "--help").stdout
    assert [line.split()[0] for line in short.splitlines() if line.startswith("  --")] == [
        option.split()[0] for option in BEGINNING
    ]
    assert {option.split()[0] for option in BEGINNING} <= set(text.split())
    assert not re.search(r"null|type:|\b(str|int|float|Path)\b|--training", short)
    assert process("--version").stdout.strip() == f"crosscue {__version__}"


@pytest.mark.parametrize("verb", ["adapt", "evaluate", "data check", "bench"])
def test_every_verb_shows_a_sign_of_life_before_the_large_imports(verb: str, tmp_path: Path) -> None:
    code = "import sys; from crosscue.cli import dispatch; sys.meta_path.insert(0, Late()); dispatch(sys.argv[1:])"
    late = (
        "class Late:\n    def find_spec(self, name, *rest):\n"
        "        if name in ('torch', 'numpy'): time.sleep(1.2); sys.exit('imports')\nimport sys, time\n"
    )
    words = [*verb.split(), "--data", "nothing"]
    done = subprocess.run([sys.executable, "-c", late + code, *words], capture_output=True, text=True)
    assert done.stderr.splitlines() == [f"starting crosscue {verb}", "imports"]


def test_a_mistake_in_the_options_gets_one_line_alone() -> None:
    lines = process("adapt", "--nonsense").stderr.splitlines()
    assert len([line for line in lines if line != "starting crosscue adapt"]) == 1  # the sign of life of a slow start


def test_a_method_in_the_place_of_a_verb_becomes_a_command(place: Path) -> None:
    assert refused("zeroshot").endswith("crosscue evaluate zero_shot --data SOURCE")
    assert refused("lora").endswith("crosscue adapt --method lora --data SOURCE")
    assert "Did you mean 'zero_shot'?" in refused("evaluate", "zeroshot", "--data", "pairs.jsonl", cwd=place)


def test_methods_as_json() -> None:
    listed = {method["name"]: method for method in json.loads(crosscue("methods", "--json", "true").stdout)}
    assert listed["dual_prompt"]["options"]["context_tokens"] == 4
    assert listed["zero_shot"]["options"] == {}


def test_adapt_evaluate_and_the_report(place: Path, adapted: Path) -> None:
    done = crosscue("evaluate", "run", "--data", "pairs.jsonl", "--json", "after.json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert re.search(r"image → text.*R@1", done.stdout)
    assert "8 images, 1 caption(s) each" in done.stdout
    result = json.loads((place / "after.json").read_text())
    assert result["protocol"]["method"] == "dual_prompt"
    assert 0 <= result["t2i"]["r1"] <= 100
    assert (adapted / "report" / "report.html").stat().st_size > 5_000
    zero = crosscue("evaluate", "zero_shot", "--data", "pairs.jsonl", "--backbone", tiny.clip_folder(), cwd=place)
    assert zero.returncode == 0
    assert "zero_shot on pairs.jsonl" in zero.stdout
    bare = ["evaluate", "--json", "run", "--data", "pairs.jsonl"]
    assert "required" in refused(*bare, cwd=place), "the word after --json is its file"
    printed = crosscue("evaluate", "run", "--data", "pairs.jsonl", "--json", cwd=place)
    assert json.loads(printed.stdout) == result
    assert re.search(r"image → text.*R@1", printed.stderr)


def test_the_resolved_config_can_be_given_back(place: Path, adapted: Path) -> None:
    done = crosscue("adapt", "--config", "run/config.yaml", "--out", "again", cwd=place)
    assert done.returncode == 0, done.stderr
    assert (place / "again" / "adapter.safetensors").read_bytes() == (adapted / "adapter.safetensors").read_bytes()
    printed = crosscue("adapt", "--config", "run/config.yaml", "--print_config", cwd=place).stdout
    assert yaml.safe_load(printed)["training"]["epochs"] == 2


def test_a_run_folder_can_be_moved(place: Path, adapted: Path) -> None:
    import shutil

    shutil.copytree(adapted, place / "elsewhere" / "moved")
    assert crosscue("evaluate", "elsewhere/moved", "--data", "pairs.jsonl", cwd=place).returncode == 0


def test_data_check(place: Path) -> None:
    done = crosscue(
        "data", "check", "pairs.jsonl", "--tokens_of", tiny.clip_folder(), "--json", "audit.json", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert "nothing stands in the way" in done.stdout
    assert json.loads((place / "audit.json").read_text())["splits"]["train"]["images"] == 16
    printed = crosscue("data", "check", "pairs.jsonl", "--tokens_of", tiny.clip_folder(), "--json", cwd=place)
    assert json.loads(printed.stdout) == json.loads((place / "audit.json").read_text())
    assert "nothing stands in the way" in printed.stderr
    (place / "bad").mkdir()
    (place / "bad" / "1.jpg").write_bytes(b"no image")
    (place / "bad" / "1.txt").write_text("a caption")
    done = crosscue("data", "check", "bad", cwd=place)
    assert done.returncode == 1
    assert "unreadable images: 1" in done.stdout
    assert "1.jpg: not an image" in done.stdout


def test_negatives_are_written_and_learned_from(place: Path) -> None:
    """The whole way of DCAR: pairs with a category, negatives, training, and every comparable way to evaluate the run."""
    done = crosscue("data", "negatives", "pairs.jsonl", "--out", "sub/with.jsonl", "--attribute", 1, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "30 attribute" in done.stdout
    rows = [json.loads(line) for line in (place / "sub" / "with.jsonl").read_text().splitlines()]
    assert rows[0]["image"] == "../0.jpg"
    assert rows[0]["negatives"][-1]["type"] == "attribute"
    again = crosscue("data", "negatives", "pairs.jsonl", "--out", "sub/again.jsonl", "--attribute", 1, cwd=place)
    assert again.returncode == 0
    assert (place / "sub" / "again.jsonl").read_bytes() == (place / "sub" / "with.jsonl").read_bytes()
    options = ["--method", "dcar", "--options.context_tokens", 2, "--training.epochs", 1]
    given = ["--data", "sub/with.jsonl", "--backbone", tiny.clip_folder()]
    done = crosscue("adapt", *given, *options, "--out", "dcar", cwd=place)
    assert done.returncode == 0, done.stderr
    for options_of_mode in (["--mode", "plain"], ["--mode", "prior"], ["--mode", "caa"], ["--rerank"]):
        done = crosscue("evaluate", "dcar", "--data", "sub/with.jsonl", *options_of_mode, cwd=place)
        assert done.returncode == 0, done.stderr
        assert "NOT COMPARABLE" not in done.stdout
    oracle = ["evaluate", "dcar", "--data", "sub/with.jsonl", "--oracle"]
    done = crosscue(*oracle, "--json", "oracle.json", cwd=place)
    assert "NOT COMPARABLE" in done.stdout
    assert json.loads((place / "oracle.json").read_text())["protocol"]["comparable"] is False
    assert "NOT COMPARABLE" in (place / "dcar" / "report" / "report.html").read_text()
    bare = refused("adapt", "--data", "pairs.jsonl", *given[2:], *options, "--out", "bare", cwd=place)
    assert "needs negatives" in bare
    assert "crosscue data negatives SOURCE" in bare
    assert not (place / "bare").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["adopt"], "there is no verb 'adopt'. Did you mean 'adapt'?"),
        (["adapt"], "there is no source of pairs. Name a folder or a file: crosscue adapt --data SOURCE"),
        (
            ["adapt", "--data", "pairs.jsonl", "--method", "dual_promt"],
            "no method 'dual_promt'. Did you mean 'dual_prompt'?",
        ),
        (
            ["adapt", "--data", "pairs.jsonl", "--training.epocs", "3"],
            "no option --training.epocs. Did you mean '--training.epochs'?",
        ),
        (
            ["adapt", "--data", "pairs.jsonl", "--method", "auto", "--options.depth", "2"],
            "there is no option --options.depth. `auto` chooses the options of the methods itself.",
        ),
        (
            ["adapt", "--data", "pairs.jsonl", "--method", "zero_shot", "--options.depth", "2"],
            "there is no option --options.depth. zero_shot has none. Name the method that it belongs to: --method NAME.",
        ),
        (["adapt", "--data", "pairs.jsonl", "--resum"], "there is no option --resum. Did you mean '--resume'? See"),
        (
            ["adapt", "--config", "wrong.yaml"],
            "no option training.epocs. Did you mean 'epochs'? Choose from: augmentation",
        ),
        (["adapt", "--config", "flat.yaml"], "training is 3; it must hold options: augmentation, batch_size"),
        (["adapt", "--config", "latin.yaml"], "--config latin.yaml: not UTF-8 text"),
        (["adapt", "--data", "pairs.jsonl", "--lr", "3"], "no option --lr. Did you mean '--training.lr'?"),
        (["adapt", "pairs.jsonl"], "there is no option pairs.jsonl. Write --data pairs.jsonl"),
        (["adapt", "--data", "pairs.jsonl", "--training.epochs", "three"], "training.epochs"),
        (["adapt", "--data", "pairs.jsonl", "--training.epochs", "0"], "training.epochs is 0; it must be at least 1"),
        (["adapt", "--data", "pairs.jsonl", "--backbone", "startre"], "no backbone 'startre'. Did you mean 'starter'?"),
        (["adapt", "--data", "nothing.csv"], "nothing.csv: there is no such file or folder"),
        (["adapt", "--config", "nothing.yaml"], "--config nothing.yaml: No such file"),
        (
            ["adapt", "--method", "dual_prompt", "--data", "pairs.jsonl", "--backbone", "TINY", "--options.depth", "9"],
            "has room for 1 to 3",
        ),
        (
            [
                "adapt",
                "--method=dual_prompt",
                "--data=pairs.jsonl",
                "--backbone",
                "TINY",
                "--options.context_tokens=60",
            ],
            "at most 21 context tokens",
        ),
        (
            ["adapt", "--data", "uncategorised.jsonl", "--backbone", "TINY", "--method", "alip"],
            "needs the category of every image",
        ),
        (["evaluate", "nothing", "--data", "pairs.jsonl"], "'nothing' is neither a run folder nor a method"),
        (["evaluate", "dual_prompt", "--data", "pairs.jsonl", "--backbone", "TINY"], "has to be trained first"),
        (
            ["evaluate", "zero_shot", "--data", "pairs.jsonl", "--backbone", "TINY", "--split", "dev"],
            "no split 'dev'. Splits found: test, train, val",
        ),
        (["data", "chek", "pairs.jsonl"], "crosscue data: there is no verb 'chek'. Did you mean 'check'?"),
        (
            ["data", "check", ".", "--kind", "json"],
            "data check: .: --kind json does not read this folder. Name a file in it",
        ),
        (
            ["evaluate", "zero_shot", "--data", "pairs.jsonl", "--rerank", "maybe"],
            "no option maybe. --rerank is true or false: write --rerank or --no-rerank.",
        ),
    ],
)
def test_mistakes_get_one_line_with_a_remedy(place: Path, arguments: list[str], words: str) -> None:
    given = [str(tiny.clip_folder()) if argument == "TINY" else argument for argument in arguments]
    assert words in refused(*given, cwd=place)


def test_a_full_disk_is_one_line(place: Path) -> None:
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from crosscue.cli import main; main()"
    )
    command = [
        "adapt",
        "--method",
        "dual_prompt",
        "--data",
        "pairs.jsonl",
        "--backbone",
        str(tiny.clip_folder()),
        "--out",
        "full",
        "--image_size",
        "64",
    ]
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, cwd=place, env={**os.environ}
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "no space left" in done.stderr or "File too large" in done.stderr


GRIDS = sorted((CONFIGS / "grids").glob("*.yaml"))


@pytest.mark.parametrize("path", sorted({*CONFIGS.rglob("*.yaml")} - {*GRIDS}), ids=lambda path: path.stem)
def test_every_config_is_parsed(path: Path, place: Path) -> None:
    printed = yaml.safe_load(succeeds("adapt", "--config", path, "--data", "pairs.jsonl", "--print_config", cwd=place))
    assert printed["method"] == yaml.safe_load(path.read_text())["method"]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_grid_is_parsed(path: Path, place: Path) -> None:
    grid = yaml.safe_load(path.read_text())
    evaluated = {again["data"] for again in grid.get("evaluate", []) if "data" in again}
    data = [f"{name}=pairs.jsonl" for name in sorted({*grid.get("domains", []), *evaluated})] or ["pairs.jsonl"]
    assert "to do" in succeeds("bench", path, "--data", *data, "--out", "bench", "--dry_run", cwd=place)
