"""The container file and the unit of systemd: read, not built. Their paths, packages and commands exist."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.docs.test_snippets import parse

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the container file, each with its words."""
    lines = (ROOT / "deploy" / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    return [(name, rest) for line in lines if not line.startswith("#") for name, _, rest in [line.partition(" ")]]


def test_every_copied_path_exists_and_the_package_is_among_them() -> None:
    copied = [path for name, rest in instructions() if name == "COPY" for path in rest.split()[:-1]]
    assert copied and all((ROOT / path).exists() for path in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = [*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], project["project"]["readme"]]
    needed = [*built, *project["project"]["license-files"], "pyproject.toml"]
    assert all(any(Path(path).is_relative_to(each) for each in copied) for path in needed)


def test_the_packages_of_the_container_are_all_that_serving_names() -> None:
    (run,) = [rest for name, rest in instructions() if name == "RUN"]
    assert "-r /src/torch_free.txt" in run
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "docs" / "torch_free.txt").read_text().splitlines()}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split(r"[\[>;]", each)[0].replace("-", "[-_]") for each in (*extras["serve"], *extras["search"])}
    faster = {"httptools", "uvloop", "crosscue"}  # uvicorn does without the first two
    assert not [name for name in named - faster if not any(re.fullmatch(name, each) for each in pinned)]


def test_the_commands_of_container_and_unit_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dict(instructions())
    parse([*json.loads(parts["ENTRYPOINT"]), *json.loads(parts["CMD"])], monkeypatch)
    unit = (ROOT / "deploy" / "crosscue.service").read_text()
    started = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.M)
    assert started and Path(started[1]).name == "crosscue"
    parse(["crosscue", *shlex.split(started[2])], monkeypatch)
    with pytest.raises(AssertionError):
        parse(["crosscue", "serve", "/images", "--hostt", "0.0.0.0"], monkeypatch)
