"""Remedies of error messages can be pasted: the program accepts every command and flag in them."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import crosscue
from crosscue.cli import VERBS, dispatch
from crosscue.commands.parser import Parser
from crosscue.commands.verbs import Verbs
from crosscue.methods.registry import method_names
from tests import cli, tiny
from tests.images import write_source

PACKAGE = Path(crosscue.__file__).parent
VALUES = {"NAME": "coop", "METHOD": "coop", "GRID": "few-shot"}
"""Values for placeholders that must name something that exists."""
EXTRA = re.compile(r"pip install '?crosscue\[(\w+)\]")
NOT_OURS = {"--no-deps", "--nnodes", "--head"}
"""Flags of pip, torchrun and ray."""


class Parsed(Exception):
    """The end of a command that was only parsed."""


def flat(node: ast.AST) -> str | None:
    """Return the text of a string literal, with a placeholder for each value in an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(flat(part) or "NAME" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = flat(node.left), flat(node.right)
        return left + right if left and right else None
    return None


def messages() -> Iterator[tuple[str, str]]:
    """Yield place and text of the messages: strings that are raised, printed or called a remedy."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            printed = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".write")
            named = isinstance(node, ast.Assign) and "remedy" in ast.unparse(node.targets[0]).lower()
            if not (isinstance(node, ast.Raise) or printed or named):
                continue
            texts = [part for part in ast.walk(node) if flat(part) is not None]
            inner = {id(child) for part in texts for child in ast.walk(part) if child is not part}
            for part in texts:
                if id(part) not in inner:
                    yield f"{path.relative_to(PACKAGE)}:{part.lineno}", flat(part) or ""  # type: ignore[attr-defined]


MESSAGES = list(messages())


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a message; each ends at a backtick, a bracket, or the end of the text."""
    for match in re.finditer(rf"\bcrosscue (?=(?:{'|'.join(VERBS.table)})\b)", text):
        yield re.split(r"[`;()\n]|[.,:](?:\s|$)| && ", text[match.start() :])[0].rstrip(" .")


COMMANDS = sorted({(command, place) for place, text in MESSAGES for command in commands(text)})


@cache
def parsers() -> dict[str, Parser]:
    """Return verb -> its parser; `adapt` has one for each method."""
    found: dict[str, Parser] = {}

    def verbs(table: Verbs, before: list[str]) -> Iterator[list[str]]:
        for verb, (_, runner) in table.table.items():
            yield from verbs(runner, [*before, verb]) if isinstance(runner, Verbs) else [[*before, verb]]

    def keep(parser: Parser, *_: Any, **__: Any) -> Any:
        found[name] = parser
        raise Parsed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Parser, "parse_args", keep)
        for words in [*verbs(VERBS, []), *(["adapt", "--method", method] for method in method_names())]:
            name = " ".join(words)
            with contextlib.suppress(Parsed):
                dispatch([*words, "few-shot"])
    return found


def test_messages_are_found() -> None:
    places = {place.split(":")[0] for place, _ in MESSAGES}
    assert {"api.py", "training/runs.py", "data/sources.py", "commands/parser.py", "cli.py"} <= places | {"cli.py"}
    assert len(COMMANDS) > 12
    assert "crosscue data negatives SOURCE --out PAIRS.jsonl" in {command for command, _ in COMMANDS}


@pytest.mark.parametrize(("command", "place"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_of_a_message_is_accepted(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = Parser.parse_args

    def parsed_only(parser: Parser, *arguments: Any, **settings: Any) -> Any:
        whole(parser, *arguments, **settings)
        raise Parsed

    (tmp_path / "config.yaml").write_text("method: coop\n")
    words = [VALUES.get(word, word.replace("NAME", str(tmp_path))) for word in shlex.split(command)][1:]
    if len(words) == 1 or (words[0] in ("data", "describe") and len(words) == 2):
        assert " ".join(words) in parsers()  # the name of a verb, not a command
        return
    monkeypatch.chdir(tmp_path)
    if words[:2] == ["serve", "key"]:  # it has no parser of options, and takes no time
        assert VERBS.run([*words[:-1], "keys.txt"]) == 0
        return
    monkeypatch.setattr(Parser, "parse_args", parsed_only)
    with pytest.raises((Parsed, SystemExit)) as end:
        VERBS.run(words)
    assert end.type is Parsed or end.value.code == 0, place


def test_every_flag_of_a_message_exists() -> None:
    known = {f"--{key}" for parser in parsers().values() for key in parser.get_defaults().keys()}  # noqa: SIM118
    switches = {flag for parser in parsers().values() for flag in parser.switches}
    known |= {flag.replace("--", "--no-", 1) for flag in switches} | {
        "--help",
        "--help-all",
        "--config",
        "--print_config",
        "--version",
    }
    mentioned = {
        (flag, place)
        for place, text in MESSAGES
        for flag in re.findall(r"(?<![\w-])--(?:no-)?[a-z][\w.]*\w", text)
        if "NAME" not in flag
    }
    assert len(mentioned) > 30
    assert {(flag, place) for flag, place in mentioned if flag not in known | NOT_OURS} == set()


def test_every_extra_of_a_message_exists() -> None:
    extras = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    mentioned = {extra for _, text in MESSAGES for extra in EXTRA.findall(text)}
    assert {"starter", "knowledge", "demo", "spacy", "lora"} <= mentioned <= extras.keys()


RUNNABLE = sorted(
    {
        command
        for command, _ in COMMANDS
        if re.match(r"crosscue (adapt|evaluate|data (check|neg))\S* .*-", command) and "--unverified" not in command
    }  # features alone can be unverified; tests/training/test_feature_banks.py reads them so
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs and a run."""
    folder = tmp_path_factory.mktemp("remedies")
    write_source(folder / "pairs")
    (folder / "options.yaml").write_text(
        f"method: dual_prompt\nbackbone: {tiny.clip_folder()}\ntraining: {{epochs: 1, batch_size: 4}}\n"
    )
    (folder / "meta.yaml").write_text("warm: [red, white]\ncold: [blue, green]\n")
    cli.succeeds("adapt", "--config", "options.yaml", "--data", "pairs", "--out", "run", cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNNABLE)
def test_a_command_of_a_message_runs(command: str, place: Path) -> None:
    words = shlex.split(command.replace("SOURCE", "pairs").replace("NAME/config", "run/config"))[1:]
    values = {
        "evaluate": "run",
        "--data": "pairs",
        "check": "pairs",
        "negatives": "pairs",
        "--method": "coop",
        "--backbone": str(tiny.clip_folder()),
        "--out": "run" if "--resume" in words else "new" if words[0] == "adapt" else "new.jsonl",
        "--meta": "meta.yaml",
    }
    filled = [values.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if "--resume" in words:
        (place / "run" / "adapter.safetensors").unlink()
    elif words[0] == "adapt":
        filled[1:1] = ["--config", "options.yaml"]
        filled += [] if "--out" in words else ["--out", "new"]
        shutil.rmtree(place / "new", ignore_errors=True)
    cli.succeeds(*filled, cwd=place)
    assert (
        words[0] != "adapt"
        or "--help-all" in words
        or (place / filled[filled.index("--out") + 1] / "adapter.safetensors").exists()
    )


@pytest.mark.slow
def test_the_evaluation_that_adapt_prints_runs(place: Path) -> None:
    rows = [json.loads(line) for line in (place / "pairs" / "captions.jsonl").read_text().splitlines()]
    rows = [row | {"image": f"pairs/{row['image']}"} for row in rows if row["split"] != "test"]
    rows.append({"image": "none.jpg", "caption": "a missing thing", "split": "train", "category": "red"})
    (place / "no test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["adapt", "--config", "options.yaml", "--data", "no test.jsonl", "--missing", "skip", "--out", "hinted"]
    printed = cli.succeeds(*command, cwd=place).splitlines()[-1]
    assert printed == "measure it: crosscue evaluate hinted --data 'no test.jsonl' --missing=skip --split val"
    cli.succeeds(*shlex.split(printed)[3:], cwd=place)


@pytest.mark.slow
def test_a_run_that_failed_before_its_first_step_does_not_block_its_folder(place: Path) -> None:
    write_source(place / "broken")
    whole = (place / "broken" / "3.jpg").read_bytes()
    (place / "broken" / "3.jpg").write_bytes(whole[:100])
    command = ["adapt", "--config", "options.yaml", "--data", "broken", "--out", "failed"]
    assert "3.jpg" in cli.refused(*command, cwd=place)
    (place / "broken" / "3.jpg").write_bytes(whole)
    cli.succeeds(*command, cwd=place)
    assert "Add --resume to continue it" in cli.refused(*command, cwd=place)
    cli.succeeds(*command, "--resume", cwd=place)


@pytest.mark.slow
def test_the_backbone_of_a_moved_run_can_be_named(place: Path) -> None:
    shutil.copytree(tiny.clip_folder(), place / "clip")
    adapt = ["adapt", "--config", "options.yaml", "--data", "pairs", "--backbone", "clip", "--out", "moving"]
    cli.succeeds(*adapt, cwd=place)
    (place / "elsewhere").mkdir()
    shutil.move(place / "moving", place / "elsewhere" / "moved")
    evaluate, here = ["evaluate", "moved", "--data", "../pairs"], place / "elsewhere"
    hint = cli.refused(*evaluate, cwd=here)
    assert re.search(r"its backbone 'clip' \(weights [0-9a-f]{12}\) cannot be loaded", hint)
    assert hint.endswith("crosscue evaluate moved --data SOURCE --backbone FOLDER")
    cli.succeeds(*evaluate, "--backbone", "../clip", cwd=here)
    assert crosscue.load(here / "moved", place / "clip").method.backbone.source == str(place / "clip")
    assert "'nonsense'" in cli.refused(*evaluate, "--backbone", "nonsense", cwd=here)
    refused = cli.refused(*evaluate, "--backbone", "../clip", "--image_size", "64", cwd=here)
    assert "trained with image_size 32, not 64. Leave --image_size out." in refused
    other = cli.refused(*evaluate, "--backbone", str(tiny.dual_folder()), cwd=here)
    assert "has other weights" in other
