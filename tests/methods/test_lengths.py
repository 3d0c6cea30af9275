"""Captions that are longer than the text tower are counted where people look."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import crosscue
from crosscue.api import as_run
from crosscue.methods.lengths import cut_captions
from crosscue.methods.registry import build
from crosscue.testing.backbones import tiny_backbone
from tests import tiny
from tests.cli import succeeds
from tests.images import write_source


def test_captions_are_cut_by_the_tower_and_by_prompts() -> None:
    backbone = tiny_backbone("clip")
    room = backbone.room()
    captions = ["a" * length for length in range(room - 3, room + 3)]
    plain = build("zero_shot", backbone)
    assert (
        cut_captions(plain, captions) == f"2 of 6 captions are cut: the text tower reads their first {room} word pieces"
    )
    assert torch.equal(*plain.encode_text(captions[-2:]))
    prompted = build("dual_prompt", backbone, {"context_tokens": 2})
    assert cut_captions(prompted, captions).startswith("4 of 6")
    assert cut_captions(plain, ["é" * 3]) == ""


def test_adapt_evaluate_and_the_report_count_cut_captions(tmp_path: Path) -> None:
    source = write_source(tmp_path / "images", train=8, val=4, test=6)
    rows = [json.loads(line) for line in (source / "captions.jsonl").read_text().splitlines()]
    long = [row | {"caption": f"{row['caption']} {'and more ' * 40}{number}"} for number, row in enumerate(rows)]
    (source / "captions.jsonl").write_text("\n".join(map(json.dumps, long)))
    run = tmp_path / "run"
    options = ("--training.epochs", 1, "--backbone", tiny.clip_folder(), "--method", "linear_probe", "--out", run)
    assert "training and validation: 12 of 12 captions are cut" in succeeds("adapt", "--data", source, *options)
    assert "6 of 6 captions are cut" in " ".join(succeeds("evaluate", run, "--data", source).split())
    assert "6 of 6 captions are cut" in (run / "report" / "report.md").read_text()
    zero = as_run("zero_shot", str(tiny.clip_folder()))
    assert zero.evaluate(crosscue.read_pairs(source, "test")).protocol["captions_cut"].startswith("6 of 6")
