"""The last part of the demo, on a tiny model and drawn images instead of emoji."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("lancedb")

from rich.console import Console

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.demo import searching
from crosscue.methods.registry import build
from crosscue.run import Run
from crosscue.testing import tiny_backbone
from tests.search.conftest import paint


def test_three_queries_stand_side_by_side_in_two_spaces(tmp_path: Path) -> None:
    codes = ["1F345", "1F352", "1F353-FE0F"]
    pairs = Pairs(
        Pair(ImageFile(paint(tmp_path / "cache" / f"{code}.png", place, 40)), ("x",), f"openmoji/{code}")
        for place, code in enumerate(codes)
    )
    backbone = tiny_backbone("clip")
    adapted = Run(build("coop", backbone).eval())
    console = Console(file=io.StringIO(), width=200)
    collection = searching.search_demo(console, adapted, pairs, tmp_path / "run")
    assert list(collection.collection.spaces) == ["before", "after"]
    assert sorted(path.name for path in (tmp_path / "run" / "emoji" / "openmoji").iterdir()) == [
        f"{code}.png" for code in codes
    ]
    printed = console.file.getvalue()
    for query in searching.QUERIES:
        (line,) = [line for line in printed.splitlines() if query in line]
        before, after = line.split("│")[2:4]
        assert {*before.split()} == {*after.split()} == {"🍅", "🍒", "🍓️"}
    assert f"--collection {tmp_path / 'run' / 'emoji.crosscue'} --compare before" in printed
