"""Tiny backbones with random weights, one of each family, saved and loaded as real folders. For tests only.

Making one leaves the random state of the caller as it was, so a test draws the same numbers whatever ran before it.
"""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from crosscue.backbones.bridge import Bridge
from crosscue.backbones.loading import load_backbone

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone

SIZE, PATCH = 32, 8
COLOURS = ("red", "green", "blue", "white", "black", "yellow", "grey", "pink")
"""Colours of the images and captions that the contract checks train on."""
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",  # words: ok
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
    "size": {"shortest_edge": SIZE},
    "crop_size": {"height": SIZE, "width": SIZE},
}
IMAGE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
WORDS = ["a", "the", *COLOURS, "thing", "things", "two", "photo", "of", "dog", "cat", "is", "on", "in"]


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="crosscue-tiny-")


def root() -> Path:
    """Returns the folder of the tiny backbones, one for each process; it is removed at exit."""
    return Path(_temporary().name)


def character_tokenizer(start: str, end: str, pad: str) -> Any:
    """Returns a tokenizer of the library `tokenizers` over lower-cased words and single characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # words: ok
    from transformers import PreTrainedTokenizerFast

    pieces = [pad, "[UNK]", start, "[MASK]", end, *WORDS, *map(chr, range(33, 127))]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    inner = {f"##{character}": len(vocabulary) + index for index, character in enumerate(map(chr, range(33, 127)))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary | inner, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(  # words: ok
        single=f"{start} $A {end}" if start != end else f"$A {end}",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token="[UNK]", bos_token=start, eos_token=end
    )


@functools.cache
@torch.random.fork_rng(devices=[])
def clip_folder() -> Path:
    """Saves a tiny CLIP and returns its folder."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = character_tokenizer("<start>", "<end>", "<pad>")
    text = {**TEXT, "vocab_size": 400, "max_position_embeddings": 24, "eos_token_id": tokenizer.eos_token_id}
    vision = {**IMAGE, "image_size": SIZE, "patch_size": PATCH}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    model.save_pretrained(root() / "clip")
    return finish(root() / "clip", tokenizer)


@functools.cache
@torch.random.fork_rng(devices=[])
def siglip_folder() -> Path:
    """Saves a tiny SigLIP and returns its folder."""
    from transformers import SiglipConfig, SiglipModel

    vision = {**IMAGE, "image_size": SIZE, "patch_size": PATCH}
    torch.manual_seed(1)
    return _finish_siglip("siglip", SiglipModel(SiglipConfig(text_config=_siglip_text(), vision_config=vision)))


@functools.cache
@torch.random.fork_rng(devices=[])
def siglip2_folder() -> Path:
    """Saves a tiny SigLIP 2 and returns its folder."""
    from transformers import Siglip2Config, Siglip2Model

    vision = {**IMAGE, "num_patches": (SIZE // PATCH) ** 2, "patch_size": PATCH}
    torch.manual_seed(2)
    return _finish_siglip("siglip2", Siglip2Model(Siglip2Config(text_config=_siglip_text(), vision_config=vision)))


def _siglip_text() -> dict[str, Any]:
    return {**TEXT, "vocab_size": 400, "max_position_embeddings": 24, "projection_size": 64}


def _finish_siglip(name: str, model: Any) -> Path:
    torch.nn.init.constant_(model.logit_scale, 4.0)  # as sharp as a trained one
    model.save_pretrained(root() / name)
    return finish(root() / name, character_tokenizer("<end>", "<end>", "<pad>"))


@functools.cache
@torch.random.fork_rng(devices=[])
def dual_folder() -> Path:
    """Saves a tiny pair of separate towers with a bridge and returns its folder."""
    from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = root() / "dual"
    torch.manual_seed(3)
    vision = CLIPVisionConfig(**IMAGE, image_size=SIZE, patch_size=PATCH, projection_dim=32)
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image")
    text = BertConfig(**TEXT, vocab_size=400, max_position_embeddings=40)
    BertModel(text, add_pooling_layer=False).save_pretrained(folder / "text")
    character_tokenizer("[CLS]", "[SEP]", "[PAD]").save_pretrained(folder / "text")
    Bridge(96, 32, 48).save(folder / "bridge.safetensors")
    (folder / "image" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    parts = {"family": "dual", "image": "image", "text": "text", "bridge": "bridge.safetensors", "max_length": 24}
    (folder / "crosscue_backbone.json").write_text(json.dumps(parts))
    return folder


def finish(folder: Path, tokenizer: Any) -> Path:
    """Adds a tokenizer and the preparation of images to a saved model; returns its folder."""
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


FOLDERS = {"clip": clip_folder, "siglip": siglip_folder, "siglip2": siglip2_folder, "dual": dual_folder}
FAMILIES = tuple(FOLDERS)


def tiny_backbone(family: str, precision: str = "fp32", image_size: int | None = None) -> Backbone:
    """Returns the tiny backbone of a family on the CPU, a new object each time."""
    return copy.deepcopy(_loaded(family, precision, image_size))


@functools.cache
@torch.random.fork_rng(devices=[])
def _loaded(family: str, precision: str, image_size: int | None) -> Backbone:
    return load_backbone(str(FOLDERS[family]()), image_size=image_size, precision=precision, device="cpu")
