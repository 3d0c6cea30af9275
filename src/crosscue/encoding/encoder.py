"""Contract of an encoder: texts and pixels go in, unit vectors come out. Search and serving depend on nothing else.

Letters in shape comments: B or N items, S side of an image, D embedding width.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from crosscue.encoding.hubness import Floats as Floats
from crosscue.encoding.hubness import TextBank

if TYPE_CHECKING:
    from crosscue.data.pixels import PixelSpec

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Identity:
    """The origin of vectors. Equal `run` means equal vectors for equal input, up to rounding."""

    run: str
    """SHA-256 over backbone weights, image size, method, options and parameters (`Run.fingerprint`)."""
    source: str
    """Run folder, export folder or untrained method, as it was opened."""
    method: str
    backbone: str
    width: int
    """D."""
    image_size: int
    """S."""
    runtime: Literal["torch", "onnx"]
    """Recorded, and no part of `run`: an export searches the collection that its run folder made."""
    precision: str
    """Recorded like `runtime`: fp32, bf16 or w8."""

    @property
    def options(self) -> str:
        """The options of a command that name the run; a method without a run folder needs its backbone too."""
        words = f"--run {shlex.quote(self.source)}"
        return words if Path(self.source).exists() else f"{words} --backbone {shlex.quote(self.backbone)}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the record that `Identity(**record)` reads."""
        return asdict(self)


@dataclass(frozen=True)
class Encoded:
    """Vectors of texts."""

    vectors: Floats
    """(N, D) unit vectors."""
    truncated: np.ndarray[Any, np.dtype[np.int64]]
    """(N,) number of word pieces at the end of each text that were not read; 0 where the whole text was."""


@dataclass(frozen=True)
class Explanation:
    """Contributions to the score of one image with one text."""

    kind: Literal["direct", "occlusion"]
    score: float
    """The cosine."""
    places: Floats
    """(h, w) signed contribution of each part of the image."""
    share: float
    """Sum of `places`. The rest of the score is spread out or comes from earlier layers."""
    prompts: float
    """Contribution of prompts in the image tower; 0 where there are none."""
    words: list[tuple[str, float]]
    """Each word of the text with the amount that the score falls without it."""


class Encoder(Protocol):
    """Two encoders, each of which sees one modality. Threads may share one; towers may load when first needed."""

    @property
    def identity(self) -> Identity:
        """Origin of the vectors."""
        ...

    @property
    def pixels(self) -> PixelSpec:
        """The square that `encode_images` takes."""
        ...

    @property
    def bank(self) -> TextBank | None:
        """Training captions for the correction of hubness; None where the source has none."""
        ...

    @property
    def rerank_modes(self) -> tuple[str, ...]:
        """Modes of `rerank`; empty where there are none."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """N texts -> (N, D) float32 unit vectors."""
        ...

    def encode_images(self, pixels: Pixels) -> Floats:
        """(B, 3, S, S) uint8 -> (B, D) float32 unit vectors."""
        ...

    def rerank(self, mode: str, text: str, pixels: Pixels, plain: Floats) -> Floats:
        """Scores one text with B images again: (B, 3, S, S) uint8 and (B,) cosines -> (B,).

        Raises:
            MethodError: there is no such mode, or the text lacks the knowledge that the mode needs.
        """
        ...

    def uncertainty(self, scores: Floats) -> float | None:
        """(N,) cosines of a query with its candidates -> 0 .. 1, or None where the method has no uncertainty."""
        ...


@runtime_checkable
class Explainer(Protocol):
    """An encoder that can explain a score."""

    def explain(self, pixels: Pixels, text: str) -> Explanation:
        """Returns the contributions to the score of one image (3, S, S) uint8 with a text."""
        ...
