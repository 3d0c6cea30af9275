"""The tiny backbones of `crosscue.testing`, and knowledge about the captions of its eight pairs."""

from __future__ import annotations

import functools
from pathlib import Path

from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.testing.backbones import (
    COLOURS,
    FAMILIES,
    IMAGE,
    PATCH,
    SIZE,
    TEXT,
    character_tokenizer,
    clip_folder,
    dual_folder,
    finish,
    root,
    siglip2_folder,
    siglip_folder,
    tiny_backbone,
)

__all__ = [
    "IMAGE",
    "PATCH",
    "SIZE",
    "TEXT",
    "character_tokenizer",
    "clip_folder",
    "dual_folder",
    "finish",
    "root",
    "siglip2_folder",
    "siglip_folder",
]

tiny_backbones = {family: functools.partial(tiny_backbone, family) for family in FAMILIES}


@functools.cache
def colour_knowledge() -> Path:
    """Writes what is known about the captions of the eight pairs."""
    known = {
        f"a {colour} thing": CaptionKnowledge(
            (Triplet("thing", "is", colour, "attribute"), Triplet(f"{colour} thing", "lying on", "ground")),
            (f"the thing is {colour} all over", "it touches the ground"),
            "test",
        )
        for colour in COLOURS
    }
    ActionKnowledge(known).save(root() / "colours.jsonl")
    return root() / "colours.jsonl"
