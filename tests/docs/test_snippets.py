"""Every command and code block of README, docs/ and the comments of configs/ works.

Commands run on a few generated images, with a tiny CLIP in the place of the starter. What takes hours, a server or a
download is listed in NOT_RUN with the reason; its options are parsed all the same.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import crosscue
from crosscue.cli import dispatch
from crosscue.commands.parser import Parser
from crosscue.data import sources
from crosscue.methods import registry
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.docs.snippets import CONFIGS, LANGUAGES, PAGES, ROOT, Block, blocks, inline
from tests.images import write_source
from tests.knowledge.conftest import serve as serve
from tests.knowledge.conftest import server as server
from tests.knowledge.server import Scripted
from tests.selection.conftest import quick, short

NOT_RUN = {
    r"crosscue demo": "fetches the starter and trains for minutes",
    r"--backbone openai/": "needs the Hub",
    r"--(writer|model|judge)\.base_url": "needs a server with a language model",
    r"--backend local": "needs a language model",
    r"captions/pets|actions/": "needs what a language model wrote before",
    r"flickr8k/|dataset_\w+\.json|actions\.jsonl$|_test\.json": "needs a published dataset",
    r"crosscue bench (few-shot|methods) ": "trains dozens of runs",
    r"runs/chosen|caltech101-25": "chooses a method for half an hour, on a published dataset",
    r"runs/action": "needs a trained run of `action` and its knowledge",
    r"--processes": "starts several processes, which tests/training/test_processes.py does",
    r"--workers": "starts several processes, which tests/search/test_engines.py does",
    r"crosscue serve (?!key)": "serves until it is stopped",
    r"pairs\.jsonl|runs/marked|--gain|--next": "needs marks; test_tutorial.py runs those of the tutorial",
    r"SOURCE|RUN|DATA|NAME": "has a placeholder",
    r"^make |^pip |^python (scripts|benchmarks|examples)/|^pytest ": "is checked by name: the target, extra, script or test exists",
}
"""Pattern of a command -> the reason why it is not run."""
PLACEHOLDERS = {
    "bench NAME": "bench methods",
    "describe KIND": "describe captions",
    "FILE.yaml": "mine.yaml",
    "evaluate --": "evaluate RUN --",
}


class Parsed(BaseException):
    """The options of a command were accepted."""


def reason(words: list[str]) -> str | None:
    """Returns the reason why a command is not run, or None."""
    line = " ".join(words)
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user: images with captions, tables, a YAML file; the starter is a tiny CLIP."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("crosscue.selection.search.candidates", short)
    quick(monkeypatch)
    monkeypatch.setattr("crosscue.backbones.starter.starter_folder", tiny.clip_folder)
    write_source(tmp_path / "my_images")
    for name in ("my_test_images", "my_pairs"):
        shutil.copytree(tmp_path / "my_images", tmp_path / name)
    for name, source in (("a.jpg", "0.jpg"), ("b.jpg", "1.jpg")):
        shutil.copy(tmp_path / "my_images" / source, tmp_path / name)
    rows = (write_source(tmp_path / "pets", train=80) / "captions.jsonl").read_text()
    (tmp_path / "pets.jsonl").write_text(rows.replace('"image": "', '"image": "pets/'))
    (tmp_path / "mine.yaml").write_text("method: dual_prompt\n")
    return tmp_path


def save(block: Block) -> None:
    """Writes a YAML block to mine.yaml; one without `method` and `rows` is added to the block before it."""
    content = yaml.safe_load(block.text)
    assert isinstance(content, dict), block
    file = Path("mine.yaml")
    file.write_text(block.text if content.keys() & {"method", "rows"} else file.read_text() + block.text)


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the parser of the verb accept the options of a command."""
    original = Parser.parse_args

    def parse_args(self: Parser, *arguments: Any, **settings: Any) -> Any:
        original(self, *arguments, **settings)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(Parser, "parse_args", parse_args)
        try:
            code = dispatch(words[1:])
        except (Parsed, SystemExit) as done:
            assert not getattr(done, "code", 0)
        else:
            assert code == 0


def named(words: list[str]) -> None:
    """Checks that what a command refers to exists."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M)
        assert rest[0] in targets
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = re.search(r"(?:crosscue|\.)(?:\[(.*)\])?$", rest[-1])
        assert wanted
        assert set(filter(None, (wanted[1] or "").split(","))) <= set(extras)
    elif program in ("python", "pytest"):
        script = (ROOT / rest[0].split("::")[0]).read_text()
        assert all(re.search(rf"\b{word[2:]}\b", script) for word in rest if word.startswith("--"))


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parses a command, or looks up what it names."""
    if words[0] == "crosscue":
        parse(words, monkeypatch)
    else:
        named(words)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_known_language(page: str) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language == "bash" for b in blocks(page))])
def test_every_command_is_accepted(
    page: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            save(block)
        for words in block.commands if block.language == "bash" else ():
            check(words, monkeypatch)


@pytest.mark.parametrize("page", [page for page in [*PAGES, *CONFIGS] if list(inline(page))])
def test_every_command_inside_a_line_is_accepted(
    page: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "configs").symlink_to(ROOT / "configs")
    for where, words in inline(page):
        line = " ".join(words)
        for placeholder, value in PLACEHOLDERS.items():
            line = line.replace(placeholder, value)
        try:
            check(line.split(), monkeypatch)
        except AssertionError as error:
            raise AssertionError(f"{where}: {capsys.readouterr().err or error}") from error


SMALLER = [(r"(--image_size|image_size:) 160\b", r"\1 32"), (r"\bimage_size=160\b", "image_size=32")]
"""Side of an image on a page -> that of the tiny CLIP: 16 patches instead of 400."""


def smaller(block: Block) -> Block:
    """Returns a block with small images."""
    text = block.text
    for pattern, value in SMALLER:
        text = re.sub(pattern, value, text)
    return replace(block, text=text)


def run(block: Block, names: dict[str, Any]) -> None:
    """Runs a block as a reader would. Python blocks share `names`; one that begins with `# FILE.py` becomes that file."""
    if block.language == "yaml":
        save(block)
    elif block.language == "python":
        if file := re.match(r"# (\w+\.py)\n", block.text):
            Path(file[1]).write_text(block.text)
        else:
            exec(compile(block.text, str(block), "exec"), names)
    elif block.language == "bash":
        chosen = [words for words in block.commands if reason(words) is None]
        for words in chosen:
            assert words[0] == "crosscue", f"{block}: {words} is neither run nor in NOT_RUN"
            try:
                code = dispatch(words[1:])
            except SystemExit as done:
                code = int(done.code or 0)
            assert code == 0, f"{block}: {' '.join(words)}"


RUNNABLE = [page for page in PAGES if any(block.language in ("bash", "python", "yaml") for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE)
def test_the_blocks_of_a_page_run_in_their_order(
    page: str, place: Path, serve: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    monkeypatch.setattr(sources, "READERS", dict(sources.READERS))
    model = serve(lambda received, number: json.dumps({"objects": received.question.split()[-2:]}))
    loaded = set(sys.modules)
    if page == "docs/evaluation.md":
        crosscue.adapt("my_images", "dual_prompt", out="runs/mine", training=TrainingConfig(epochs=1))
        dispatch(["data", "negatives", "my_images", "--out", "with_negatives.jsonl"])
    names = {"__name__": "__main__"}
    try:
        for block in blocks(page):
            text = block.text.replace("http://localhost:8000/v1", model.url)
            run(smaller(replace(block, text=text) if block.language == "python" else block), names)
    finally:
        for name in set(sys.modules) - loaded:
            if (place / f"{name}.py").exists():
                del sys.modules[name]


def test_every_reason_is_used() -> None:
    commands = [
        words for page in PAGES for block in blocks(page) if block.language == "bash" for words in block.commands
    ]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, " ".join(words)) for words in commands), pattern


def test_an_unknown_option_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        check(["crosscue", "adapt", "--data", "my_images", "--epoch", "3"], monkeypatch)
    with pytest.raises(AssertionError):
        check(["pip", "install", "crosscue[nothing]"], monkeypatch)
