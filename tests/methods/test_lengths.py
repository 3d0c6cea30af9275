"""Captions that are longer than the text tower are counted where people look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import crosscue
from crosscue.api import as_run
from crosscue.methods.lengths import cut_captions, room
from crosscue.methods.registry import build
from crosscue.testing.backbones import tiny_backbone
from tests import tiny
from tests.cli import succeeds
from tests.images import write_source
from tests.tiny import square_clip


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


@pytest.mark.parametrize(
    ("name", "options", "positions"),
    [
        ("alip", {"context_tokens": 3}, 3),
        ("alip", {"context_tokens": 3, "carrier": "heads_only"}, 0),
        ("filip", {"context_tokens": 3}, 3),
        ("coop", {"context_tokens": 3}, 3),
        ("maple", {"context_tokens": 3, "depth": 1, "maple_keep_of_a": True}, 4),
        ("dcar", {"context_tokens": 3, "ca": False}, 3),
        ("acke", {"keys": "static", "top_k": 2, "prompt_length": 2}, 4),
        ("acke", {"acp": "vision", "top_k": 2, "prompt_length": 2}, 0),
        ("acke_released", {"top_k": 2, "prompt_length": 2}, 0),
        ("action", {}, 0),
    ],
)
@torch.no_grad()
def test_what_a_caption_has_beyond_the_room_beside_the_prompts_is_not_read(
    name: str, options: dict[str, Any], positions: int
) -> None:
    """One word piece a letter: the longest caption that fits, the same with two more pieces, and one with one piece fewer."""
    backbone = square_clip() if name == "acke_released" else tiny_backbone("clip")
    torch.manual_seed(0)
    method, most = build(name, backbone, options), backbone.room(positions)
    assert room(method) == most
    captions = ["a" * most, "a" * (most + 2), "a" * (most - 1)]
    fits, longer, shorter = method.encode_text(captions)
    torch.testing.assert_close(longer, fits)
    assert not torch.allclose(shorter, fits, atol=1e-4)
    assert cut_captions(method, captions).startswith("1 of 3")


def test_prompts_that_texts_choose_themselves_take_room() -> None:
    """The end of a long caption is not read, though it helps to choose the prompts."""
    backbone, options = square_clip(), {"top_k": 2, "prompt_length": 2}
    assert room(build("acke", backbone, options)) == backbone.room(4)
    assert room(build("acke_released", backbone, options | {"defects": []})) == backbone.room(4)


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
