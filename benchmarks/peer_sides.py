"""The sides of `peers.py` that run in the peers' environment: one piece of work of one peer, for every line of the input.

Nothing of crosscue is imported here. Each line is answered with the CPU seconds of a round; the end of the input saves the result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

AT_ONCE = 128
DETECTION = torch.library.Library("torchvision", "DEF")
"""torchvision's operators are not loaded beside a torch for CPUs alone. Its import needs two of them, which nothing here calls."""
for operator in ("nms", "qnms"):
    DETECTION.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
RENAMED = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""Names of transformers' CLIP -> names of open_clip's."""


def open_clip_weights(stock: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of transformers' CLIP as open_clip names and joins them."""
    found = {"logit_scale": stock["logit_scale"], "visual.proj": stock["visual_projection.weight"].T.contiguous()}
    found["text_projection"] = stock["text_projection.weight"].T.contiguous()
    for name, tensor in stock.items():
        if (
            "position_ids" in name
            or "projection" in name
            or name == "logit_scale"
            or "k_proj" in name
            or "v_proj" in name
        ):
            continue
        new = name
        for old, other in RENAMED.items():
            new = new.replace(old, other)
        if "q_proj" in name:
            tensor = torch.cat([stock[name.replace("q_proj", f"{one}_proj")] for one in "qkv"])
            new = new.replace("self_attn.q_proj.", "attn.in_proj_")
        found[new] = tensor
    return found


def open_clip_model(folder: Path, dtype: str) -> Any:
    """Return open_clip's ViT-B/32 with the weights of a checkpoint of transformers."""
    import open_clip

    precision = {"fp32": "fp32", "bf16": "bf16"}[dtype]
    model = open_clip.create_model("ViT-B-32-quickgelu", precision=precision, pretrained=None).eval()
    weights = open_clip_weights(load_file(folder / "model.safetensors"))
    model.load_state_dict(weights, strict=True)
    return model


def open_clip_images(folder: Path, dtype: str) -> Callable[[], Tensor]:
    """Encode the pixels of the folder, normalised as crosscue does it."""
    model = open_clip_model(folder, dtype)
    pixels = torch.from_numpy(np.load(folder / "pixels.npy"))
    config = json.loads((folder / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("image_mean", "image_std"))
    number = model.visual.conv1.weight.dtype
    return lambda: model.encode_image(((pixels.float() / 255 - mean) / std).to(number)).float()


def open_clip_texts(folder: Path, dtype: str) -> Callable[[], Tensor]:
    """Encode the captions of the folder with open_clip's own tokenizer."""
    import open_clip

    model, tokenizer = open_clip_model(folder, dtype), open_clip.get_tokenizer("ViT-B-32-quickgelu")
    texts = json.loads((folder / "texts.json").read_text())
    parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
    return lambda: torch.cat([model.encode_text(tokenizer(part)).float() for part in parts])


def sentence_transformers_texts(folder: Path, dtype: str) -> Callable[[], Tensor]:
    """Encode the captions of the folder with the text tower of the starter; the mean over tokens is the result."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    tower = Transformer(str(folder / "text"), max_seq_length=256)
    model = SentenceTransformer(modules=[tower, Pooling(tower.get_embedding_dimension(), "mean")], device="cpu")
    model = model.to({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]).eval()
    texts = json.loads((folder / "texts.json").read_text())
    return lambda: model.encode(texts, batch_size=AT_ONCE, convert_to_tensor=True, show_progress_bar=False).float()


def clip_benchmark_recall(folder: Path, _: str) -> Callable[[], Tensor]:
    """Compute R@1, R@5 and R@10 of the features of the folder: image to text, then text to image."""
    from clip_benchmark.metrics.zeroshot_retrieval import evaluate

    features = load_file(folder / "features.safetensors")
    images, captions = features["images"], features["captions"]
    each = len(captions) // len(images)

    class Known:
        encode_image = staticmethod(lambda rows: rows)
        encode_text = staticmethod(lambda rows: rows)

    def batches() -> list[tuple[Tensor, list[list[str]]]]:
        numbers = [[str(each * image + place) for place in range(each)] for image in range(len(images))]
        return [(images[i : i + AT_ONCE], numbers[i : i + AT_ONCE]) for i in range(0, len(images), AT_ONCE)]

    def work() -> Tensor:
        look_up = lambda texts: captions[torch.tensor([int(text) for text in texts])]  # noqa: E731
        found = evaluate(Known, batches(), look_up, "cpu", amp=False, recall_k_list=[1, 5, 10])
        return torch.tensor(
            [[100 * found[f"{way}_retrieval_recall@{k}"] for k in (1, 5, 10)] for way in ("text", "image")]
        )

    return work


SIDES = {
    "open_clip_images": open_clip_images,
    "open_clip_texts": open_clip_texts,
    "sentence_transformers_texts": sentence_transformers_texts,
    "clip_benchmark_recall": clip_benchmark_recall,
}


@torch.no_grad()
def main() -> None:
    side, folder, dtype = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    work, result = SIDES[side](folder, dtype), torch.empty(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        result = work()
        print(time.process_time() - start, flush=True)
    np.save(folder / f"{side}.npy", result.numpy())


if __name__ == "__main__":
    main()
