"""Tiny random backbones, saved and loaded as real folders. For unit tests only: no number is ever made with them."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from crosscue.backbones.bridge import Bridge
from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone

SIZE, PATCH = 32, 8
COLOURS = ("red", "green", "blue", "white", "black", "yellow", "grey", "pink")
"""What tells the pictures and captions of the method grid apart."""
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
    "size": {"shortest_edge": SIZE},
    "crop_size": {"height": SIZE, "width": SIZE},
}
IMAGE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}


@functools.cache
def root() -> Path:
    """One folder a test session; subprocesses are told which (CROSSCUE_TINY)."""
    return Path(os.environ.get("CROSSCUE_TINY") or tempfile.mkdtemp(prefix="crosscue-tiny-"))


def character_tokenizer(start: str, end: str, pad: str) -> Any:
    """A real `tokenizers` tokenizer: lower-cased words and single characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [
        "a",
        "the",
        "red",
        "green",
        "blue",
        "white",
        "black",
        "yellow",
        "grey",
        "pink",
        "thing",
        "things",
        "two",
        "photo",
        "of",
        "dog",
        "cat",
        "is",
        "on",
        "in",
    ]
    pieces = [pad, "[UNK]", start, "[MASK]", end, *words, *map(chr, range(33, 127))]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.WordPiece(
            vocabulary | {f"##{c}": len(vocabulary) + i for i, c in enumerate(map(chr, range(33, 127)))},
            unk_token="[UNK]",
        )
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}" if start != end else f"$A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token="[UNK]", bos_token=start, eos_token=end
    )


@functools.cache
def clip_folder() -> Path:
    from transformers import CLIPConfig, CLIPModel

    folder = root() / "clip"
    if folder.exists():
        return folder
    tokenizer = character_tokenizer("<start>", "<end>", "<pad>")
    text = {**TEXT, "vocab_size": 400, "max_position_embeddings": 24, "eos_token_id": tokenizer.eos_token_id}
    vision = {**IMAGE, "image_size": SIZE, "patch_size": PATCH}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).save_pretrained(folder)
    return finish(folder, tokenizer)


@functools.cache
def siglip_folder() -> Path:
    from transformers import SiglipConfig, SiglipModel

    folder = root() / "siglip"
    if folder.exists():
        return folder
    tokenizer = character_tokenizer("<end>", "<end>", "<pad>")
    text = {**TEXT, "vocab_size": 400, "max_position_embeddings": 24, "projection_size": 64}
    vision = {**IMAGE, "image_size": SIZE, "patch_size": PATCH}
    torch.manual_seed(1)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    torch.nn.init.constant_(model.logit_scale, 4.0)  # as sharp as a trained one
    model.save_pretrained(folder)
    return finish(folder, tokenizer)


@functools.cache
def siglip2_folder() -> Path:
    from transformers import Siglip2Config, Siglip2Model

    folder = root() / "siglip2"
    if folder.exists():
        return folder
    tokenizer = character_tokenizer("<end>", "<end>", "<pad>")
    text = {**TEXT, "vocab_size": 400, "max_position_embeddings": 24, "projection_size": 64}
    vision = {**IMAGE, "num_patches": (SIZE // PATCH) ** 2, "patch_size": PATCH}
    torch.manual_seed(2)
    model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))
    torch.nn.init.constant_(model.logit_scale, 4.0)  # as sharp as a trained one
    model.save_pretrained(folder)
    return finish(folder, tokenizer)


@functools.cache
def dual_folder() -> Path:
    from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = root() / "dual"
    if folder.exists():
        return folder
    torch.manual_seed(3)
    vision = CLIPVisionConfig(**IMAGE, image_size=SIZE, patch_size=PATCH, projection_dim=32)
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image")
    BertModel(BertConfig(**TEXT, vocab_size=400, max_position_embeddings=40), add_pooling_layer=False).save_pretrained(
        folder / "text"
    )
    character_tokenizer("[CLS]", "[SEP]", "[PAD]").save_pretrained(folder / "text")
    Bridge(96, 32, 48).save(folder / "bridge.safetensors")
    (folder / "image" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    parts = {"family": "dual", "image": "image", "text": "text", "bridge": "bridge.safetensors", "max_length": 24}
    (folder / "crosscue_backbone.json").write_text(json.dumps(parts))
    return folder


@functools.cache
def colour_knowledge() -> Path:
    """What is known about the captions of the method grid."""
    from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet

    file = root() / "colours.jsonl"
    if not file.exists():
        known = {
            f"a {colour} thing": CaptionKnowledge(
                (Triplet("thing", "is", colour, "attribute"), Triplet(f"{colour} thing", "lying on", "ground")),
                (f"the thing is {colour} all over", "it touches the ground"),
                "test",
            )
            for colour in COLOURS
        }
        ActionKnowledge(known).save(file)
    return file


def finish(folder: Path, tokenizer: Any) -> Path:
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


def loader(folder: Callable[[], Path]) -> Callable[..., Backbone]:
    def load(**options: Any) -> Backbone:
        return load_backbone(str(folder()), device="cpu", **{"precision": "fp32", **options})

    return load


tiny_backbones: dict[str, Callable[..., Backbone]] = {
    "clip": loader(clip_folder),
    "siglip": loader(siglip_folder),
    "siglip2": loader(siglip2_folder),
    "dual": loader(dual_folder),
}
