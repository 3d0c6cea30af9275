"""The mutants of tests/mutants.toml are changes of lines that exist."""

from __future__ import annotations

import tomllib
from pathlib import Path

import crosscue


def test_every_mutation_by_hand_finds_its_line() -> None:
    kept = tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))["by_hand"]
    package = Path(crosscue.__file__).parent
    found = {one["name"]: (package / one["file"]).read_text(encoding="utf-8").count(one["old"]) for one in kept}
    assert {name for name, count in found.items() if count != 1} == set()
