"""crosscue against peers that need an environment of their own, with the same weights, on the same machine.

    python benchmarks/peers.py ../shared/data/fdrd_caltech101 --environment peers_environment

- images and texts against open_clip: CLIP ViT-B/32 with random weights, which `peer_sides.py` renames;
- texts of the starter against sentence-transformers: the same MiniLM, up to the mean over tokens;
- ranks and recall against CLIP_benchmark's recall, on random vectors.

The environment is made where it is absent, by pip (1.5 GB). The peer waits in a process of its own. It and crosscue work in turn.
CPU times are compared. The smallest cosine of both results shows that the work was equal.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from harness import BATCH, backbones, cpu_seconds, random_pixels
from safetensors.torch import save_file
from torch import Tensor

from crosscue import load_backbone, read_pairs
from crosscue.backbones.embedding import embed_texts, shares_beginnings
from crosscue.backbones.precision import cpu_has_bf16_instructions
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.starter import starter_folder
from crosscue.evaluation.ranks import ranks
from crosscue.evaluation.recall import recall
from evaluation import vectors

PACKAGES = (
    "torch==2.13.0",
    "torchvision",
    "open_clip_torch==3.3.0",
    "sentence-transformers==6.2.0",
    "clip-benchmark==1.6.2",
)
CASES = ("open_clip_images", "open_clip_texts", "sentence_transformers_texts", "clip_benchmark_recall")
EACH = 5


def interpreter(folder: Path) -> Path:
    """Return the Python of the peers' environment; makes it on first use."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


def encoded(backbone: Backbone, texts: list[str]) -> Tensor:
    """Return the features of texts, encoded as an evaluation encodes them."""
    return embed_texts(
        texts,
        lambda part: backbone.encode_text(backbone.tokenize(part)).pooled,
        alphabetical=shares_beginnings(backbone),
    )


def in_turn(case: str, python: Path, folder: Path, precision: str, ours: Callable[[], Tensor], rounds: int) -> None:
    """Run crosscue and a peer in turn, after a round of warm-up; print both CPU times, their ratio and the agreement."""
    command = [python, Path(__file__).with_name("peer_sides.py"), case, folder, precision]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        lines = iter(peer.stdout.readline, "")
        if next(lines, "").strip() != "ready":
            raise SystemExit(f"{case}: the peer did not start. Remove its environment, and run this again.")
        own, other = [], []
        for _ in range(rounds + 1):
            taken = cpu_seconds(ours)
            own.append(taken.seconds)
            peer.stdin.write("\n")
            peer.stdin.flush()
            if not (answer := next(lines, "")):
                raise SystemExit(f"{case}: the peer ended with the error above.")
            other.append(float(answer))
        peer.stdin.close()
    result, theirs = taken.result, torch.from_numpy(np.load(folder / f"{case}.npy"))
    ratios = [b / a for a, b in zip(own[1:], other[1:], strict=True)]
    if case == "clip_benchmark_recall":
        agreement = f"largest difference of a recall {float((result - theirs).abs().max()):.4f} points"
    else:
        agreement = f"smallest cosine {float(torch.cosine_similarity(result, theirs).min()):.6f}"
    print(
        f"{precision}  {case:28} crosscue {median(own[1:]):7.2f} CPU-s, peer {median(other[1:]):7.2f} CPU-s, "
        f"{median(ratios):5.2f}x ({min(ratios):.2f} to {max(ratios):.2f}); {agreement}",
        flush=True,
    )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="source of pairs, whose captions are encoded")
    parser.add_argument("--environment", type=Path, required=True, help="folder of the peers' environment")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    usual = ["bf16", "fp32"] if cpu_has_bf16_instructions() else ["fp32"]
    parser.add_argument("--precisions", nargs="+", default=usual, help="bf16 too where the CPU has instructions for it")
    parser.add_argument("--count", type=int, default=300, help="captions")
    parser.add_argument("--images", type=int, default=5_000, help="images of the recall, with five captions each")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    python = interpreter(given.environment)
    texts = list(dict.fromkeys(caption for pair in read_pairs(given.source) for caption in pair.captions))[
        : given.count
    ]
    clip = [case for case in given.cases if case.startswith("open_clip")]
    for folder, backbone in backbones(*given.precisions) if clip else ():
        pixels = random_pixels(BATCH)
        np.save(folder / "pixels.npy", pixels.numpy())
        (folder / "texts.json").write_text(json.dumps(texts))
        ways = {
            "open_clip_images": lambda b=backbone, p=pixels: b.encode_image(p).pooled,
            "open_clip_texts": lambda b=backbone: encoded(b, texts),
        }
        for case in clip:
            in_turn(case, python, folder, backbone.precision.name, ways[case], given.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "sentence_transformers_texts" in given.cases:
            (folder / "texts.json").write_text(json.dumps(texts))
            shutil.copytree(starter_folder() / "text", folder / "text")
            for precision in given.precisions:
                starter(python, folder, precision, texts, given.rounds)
        if "clip_benchmark_recall" in given.cases:
            images, captions = vectors(given.images, 512, 0), vectors(EACH * given.images, 512, 1)
            captions = torch.nn.functional.normalize(captions + 0.1 * images.repeat_interleave(EACH, 0), dim=-1)
            save_file({"images": images, "captions": captions}, folder / "features.safetensors")
            owner = torch.arange(given.images).repeat_interleave(EACH)

            def recalls() -> Tensor:
                found = map(recall, ranks(images, captions, owner))
                return torch.tensor([[one.r1, one.r5, one.r10] for one in found])

            in_turn("clip_benchmark_recall", python, folder, "fp32", recalls, 1)


def starter(python: Path, folder: Path, precision: str, texts: list[str], rounds: int) -> None:
    """Compare the text tower of the starter up to the mean over tokens; crosscue goes on through its small bridge."""
    backbone = load_backbone("starter", precision=precision, device="cpu")

    def ours() -> Tensor:
        return embed_texts(texts, lambda part: backbone.encode_text(backbone.tokenize(part)).hidden)

    in_turn("sentence_transformers_texts", python, folder, precision, ours, rounds)


if __name__ == "__main__":
    main()
