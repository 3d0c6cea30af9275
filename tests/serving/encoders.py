"""An encoder of letters and mean colours, and servers around it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from crosscue.data.pixels import PixelSpec
from crosscue.encoding.encoder import Encoded, Floats, Identity, Pixels

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (30, 60, 220)}


class ColourEncoder:
    """A text and an image agree in the colours that they name and show. Texts of over 5 words are cut."""

    identity = Identity("0" * 64, "zero_shot", "zero_shot", "colours", 13, 32, "torch", "fp32")
    pixels = PixelSpec(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    bank = None
    rerank_modes = ()

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        self.batches.append(len(texts))
        rows = [[text.lower().split()[:5].count(colour) for colour in COLOURS] + [0.25] + [0] * 9 for text in texts]
        return Encoded(unit(np.array(rows, np.float32)), np.array([max(len(t.split()) - 5, 0) for t in texts]))

    def encode_images(self, pixels: Pixels) -> Floats:
        means = pixels.reshape(len(pixels), 3, -1).mean(2).astype(np.float32) / 255
        grain = pixels[:, 0, 4::10, 4::10].reshape(len(pixels), -1) / 255 - means[:, :1]  # (B, 9)
        rows = [np.maximum(means - 0.3, 0), np.full((len(pixels), 1), 0.05), 3 * grain]
        return unit(np.concatenate(rows, 1).astype(np.float32))

    def rerank(self, mode: str, text: str, pixels: Pixels, plain: Floats) -> Floats:
        raise AssertionError("there is no mode")

    def uncertainty(self, scores: Floats) -> float | None:
        return None


def unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def data_url(colour: tuple[int, int, int] = (220, 30, 30), size: tuple[int, int] = (40, 30), kind: str = "PNG") -> str:
    made = io.BytesIO()
    Pillow.new("RGB", size, colour).save(made, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(made.getvalue()).decode()


class OtherEncoder(ColourEncoder):
    """Another run, which takes blue for green and green for blue."""

    identity = Identity("1" * 64, "runs/other", "dual_prompt", "colours", 13, 32, "torch", "fp32")

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        found = super().encode_texts(texts)
        return Encoded(found.vectors[:, [0, 2, 1, *range(3, 13)]], found.truncated)
