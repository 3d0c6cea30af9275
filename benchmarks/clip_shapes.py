"""CLIP ViT-B/32 with its real tokenizer and random weights: the shapes that speed depends on, without a download of 600 MB."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from crosscue.wheels import Wheel, fetch_wheel

MERGES = Wheel("open-clip-torch", "3.3.0", "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce")
"""Carries CLIP's byte-pair merges (MIT)."""


def tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, from its published merges."""
    with zipfile.ZipFile(fetch_wheel(MERGES)) as wheel:
        lines = gzip.decompress(wheel.read("open_clip/bpe_simple_vocab_16e6.txt.gz")).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    characters = [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    pieces = [*characters, *(c + "</w>" for c in characters), *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges)


def write_checkpoint(parent: Path, patch: int = 32) -> Path:
    """Writes a checkpoint of CLIP ViT-B/32's shapes, or of another patch size, into `parent` and returns its folder."""
    torch.manual_seed(0)
    words = tokenizer()
    text = {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    config = CLIPConfig(text_config=text, vision_config={"patch_size": patch})
    target = parent / f"clip-vit-base-patch{patch}"
    CLIPModel(config).save_pretrained(target)
    words.save_pretrained(target)
    preprocessor = {"image_mean": [0.481, 0.458, 0.408], "image_std": [0.269, 0.261, 0.276], "do_center_crop": True}
    (target / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return target
