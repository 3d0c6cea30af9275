"""The sources of docs/results.md that scripts/sources.py makes of others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from crosscue.data.sources import read_pairs
from crosscue.evaluation.minimal_pairs import Contests
from tests.images import write_source
from tests.tiny import tiny_backbones

ROOT = Path(__file__).parents[2]


def test_edits_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and test captions are edited; minimal pairs are counted by type, not by category."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "sources", raising=False)
    import sources

    monkeypatch.setattr(sources, "load_backbone", lambda *_, **__: tiny_backbones["dual"]())
    folder = write_source(tmp_path / "a", val=0)
    sources.write_edits(folder / "captions.jsonl")
    uniform, nearest, edits = (read_pairs(str(folder / f"captions-{n}.jsonl")) for n in ("uniform", "nearest", "edits"))
    kinds = {pair.image_id: [negative.type for negative in pair.negatives] for pair in uniform}
    assert kinds == {pair.image_id: ["category", "attribute"][: len(pair.negatives)] for pair in nearest}
    assert [pair.image_id for pair in edits] == [pair.image_id for pair in uniform if pair.split == "test"]
    assert {pair.category for pair in edits} == {None}
    assert all([n.type for n in pair.negatives].count("category") == 2 for pair in edits)


def test_an_edited_caption_of_sugarcrepe_meets_the_caption_it_was_made_of_alone(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "sources", raising=False)
    import sources

    monkeypatch.chdir(tmp_path)
    coco = shared.resolve() / "coco_mini"
    sources.write_source(tmp_path / "sugarcrepe.jsonl", coco, sources.sugarcrepe(coco, Path("copies")))
    contests = Contests.of(read_pairs(tmp_path / "sugarcrepe.jsonl"))
    kept = json.loads((coco / "sugarcrepe_subset.json").read_text())
    expected = [(pair["caption"], pair["negative_caption"], kind) for kind, pairs in kept.items() for pair in pairs]
    texts = [tuple(contests.texts[place] for place in choice) for choice in contests.choice.tolist()]
    assert [(*pair, kinds[-1]) for pair, kinds in zip(texts, contests.kinds, strict=True)] == expected
