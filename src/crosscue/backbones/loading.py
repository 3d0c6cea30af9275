"""From a name to a backbone: the starter, a local folder, a Hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from crosscue.backbones.bridge import Bridge
from crosscue.backbones.clip import ClipBackbone
from crosscue.backbones.device import usable_device
from crosscue.backbones.dual import DualBackbone
from crosscue.backbones.hub import fetch_from_hub
from crosscue.backbones.precision import Precision, choose_precision
from crosscue.backbones.preprocessing import pixel_spec
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.siglip import SiglipBackbone
from crosscue.backbones.towers import TwoTowers
from crosscue.backbones.vocabulary import pretrained_tokenizer
from crosscue.backbones.weights import checkpoint_json, pretrained_model
from crosscue.errors import BackboneError, suggestion

LARGEST = 4096
"""Largest side of an input image; the attention of a larger one takes gigabytes."""
DUAL_CONFIG = "crosscue_backbone.json"


def loaded(backbone: str | Path | Backbone, image_size: int | None, precision: str, device: str | None) -> Backbone:
    """Returns a backbone that is loaded already, or loads it; see `load_backbone`."""
    if isinstance(backbone, Backbone):
        return backbone
    return load_backbone(str(backbone), image_size=image_size, precision=precision, device=device)


def load_backbone(
    source: str = "starter",
    *,
    image_size: int | None = None,
    precision: str = "auto",
    device: str | torch.device | None = None,
) -> Backbone:
    """Loads a frozen backbone.

    Args:
        source: `starter`, a local folder, or a Hub id with an optional revision (`org/name@revision`).
        image_size: another input size than the checkpoint's; positions are interpolated.
        precision: auto, fp32 or bf16; see `crosscue.backbones.precision`.
        device: default the GPU where there is one.

    Raises:
        BackboneError: no such backbone, an unsupported family, missing weights, an impossible size.
        NetworkError: the Hub cannot be reached.
    """
    if image_size is not None and (type(image_size) is not int or not 1 <= image_size <= LARGEST):
        raise BackboneError(f"image_size is {image_size!r}; it must be an integer from 1 to {LARGEST:,}, or null.")
    place = usable_device(device)
    chosen = choose_precision(precision, place)
    name, _, revision = source.partition("@")
    if source == "starter":
        from crosscue.backbones.starter import starter_folder

        folder, revision = starter_folder(), ""
    elif Path(source).expanduser().is_dir():
        folder, revision = Path(source).expanduser(), ""
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        folder = fetch_from_hub(name, revision or None)
    else:
        raise BackboneError(
            f"there is no backbone '{source}'.{suggestion(source, ['starter']).split(' Choose')[0]} "
            "Give 'starter', an existing local folder, or a Hub id such as openai/clip-vit-base-patch32."
        )
    backbone = load_folder(folder, chosen, image_size)
    backbone.source = source
    backbone.revision = revision or _recorded_revision(folder)
    backbone.freeze()
    return backbone.to(place)


def load_folder(folder: Path, precision: Precision, image_size: int | None) -> TwoTowers:
    """Loads a checkpoint folder of any supported family."""
    if (folder / DUAL_CONFIG).exists():
        return _load_dual(folder, precision, image_size)
    from transformers import CLIPModel, Siglip2Model, SiglipModel

    families: dict[str, tuple[Any, Any]] = {
        "clip": (CLIPModel, ClipBackbone),
        "siglip": (SiglipModel, SiglipBackbone),
        "siglip2": (Siglip2Model, SiglipBackbone),
    }
    model_type = checkpoint_json(folder, "config.json").get("model_type")
    if model_type not in families:
        raise BackboneError(
            f"{folder}: model type '{model_type}' is not supported. Supported: {', '.join(families)}, dual ({DUAL_CONFIG})."
        )
    model_class, backbone_class = families[model_type]
    model = pretrained_model(model_class, folder)
    vision = model.config.vision_config
    trained = getattr(vision, "image_size", None) or int(vision.num_patches**0.5) * vision.patch_size
    tokenizer = pretrained_tokenizer(folder, model.config.text_config.vocab_size)
    pixels = pixel_spec(folder, trained, image_size)
    loaded: TwoTowers = backbone_class(model, tokenizer, pixels, precision, image_size)
    return loaded


def _load_dual(folder: Path, precision: Precision, image_size: int | None) -> DualBackbone:
    from transformers import AutoModel, CLIPVisionModelWithProjection

    parts = checkpoint_json(folder, DUAL_CONFIG)
    image, text = folder / parts["image"], folder / parts["text"]
    image_model = pretrained_model(CLIPVisionModelWithProjection, image)
    text_model = pretrained_model(AutoModel, text, add_pooling_layer=False)
    return DualBackbone(
        image_model,
        text_model,
        Bridge.load(folder / parts["bridge"]),
        pretrained_tokenizer(text, text_model.config.vocab_size),
        int(parts["max_length"]),
        pixel_spec(image, image_model.config.image_size, image_size),
        precision,
        image_size,
    )


def _recorded_revision(folder: Path) -> str | None:
    if (folder / DUAL_CONFIG).exists():
        revision: str | None = checkpoint_json(folder, DUAL_CONFIG).get("revision")
        return revision
    return folder.name if folder.parent.name == "snapshots" else None  # the Hub's cache names folders by commit
