"""The tiny backbones of `crosscue.testing`, and knowledge about the captions of its eight pairs."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone
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


@functools.cache
@torch.random.fork_rng(devices=[])
def square_clip() -> Backbone:
    """A tiny CLIP whose text width is its embedding width, as in ViT-B/32."""
    from transformers import CLIPConfig, CLIPModel

    folder = root() / "square-clip"
    if not folder.exists():
        tokenizer = character_tokenizer("<start>", "<end>", "<pad>")
        text = {**TEXT, "vocab_size": 400, "max_position_embeddings": 24, "eos_token_id": tokenizer.eos_token_id}
        vision = {**IMAGE, "image_size": SIZE, "patch_size": PATCH}
        torch.manual_seed(4)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=96)).save_pretrained(folder)
        finish(folder, tokenizer)
    return load_backbone(str(folder), device="cpu", precision="fp32")
