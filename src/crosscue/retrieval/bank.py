"""The bank of a run: embeddings of training images and captions, by which scores are corrected for hubness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from crosscue.backbones.frozen import Chosen
from crosscue.encoding.hubness import helps_of, line_of_notes
from crosscue.encoding.line import Line
from crosscue.methods.capabilities import LateInteraction
from crosscue.retrieval.encoding import embed_captions, embed_images, untouched_embeddings
from crosscue.retrieval.late_scores import late_scores
from crosscue.retrieval.normalising import BETA, Correction, Normalised, normalised
from crosscue.retrieval.scores import Cosines
from crosscue.storage import atomic_file

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method
    from crosscue.retrieval.options import Inference
    from crosscue.retrieval.scores import Scores

FILE = "bank.safetensors"
SIZE = 500
"""Most images, and most captions, of the bank that a run folder contains: 1.5 MB at width 384."""


@dataclass(frozen=True)
class Bank:
    """Training images with training captions, as one method scores them first."""

    scores: Scores
    beta: float = BETA
    reading: str = ""
    """Text mode and pre-selecting model of the scores; see `reading`."""
    helps: bool = False
    """True if the correction finds more images by text on the validation pairs; search is corrected then."""
    line: Line | None = None
    """Limits of a likely result of a search, from the validation pairs; None without enough of them."""
    pairs: str = ""
    """Fingerprint of the training pairs."""
    form: Correction = "bank"
    """The correction that `normalise: chosen` stands for."""

    def protocol(self, inference: Inference) -> dict[str, Any]:
        """Returns what the corrected scores depend on."""
        size = f"{self.scores.image_count:,} images and {self.scores.caption_count:,} captions"
        bank = f"{size} ({self.pairs[:12] or 'without a fingerprint'})"
        return {"normalised": self.form_of(inference), "beta": self.beta_of(inference), "bank": bank}

    def beta_of(self, inference: Inference) -> float:
        """Returns the given sharpness, or that of the bank."""
        return self.beta if inference.beta is None else inference.beta

    def form_of(self, inference: Inference) -> Correction:
        """Returns the given form of the correction, or that of the bank."""
        assert inference.normalise != "none"
        return self.form if inference.normalise == "chosen" else inference.normalise

    def correct(self, scores: Scores, inference: Inference) -> Normalised:
        """Returns the scores of a gallery, corrected as `inference` has it.

        Raises:
            MethodError: beta is not positive, or the bank has no queries of a direction.
        """
        return normalised(scores, self.scores, self.beta_of(inference), self.form_of(inference))


def first_scores(
    method: Method[Any], captions: Sequence[str], images: Images, count: int, inference: Inference
) -> Scores:
    """Returns the scores of images with captions before any re-ranking, by the model that pre-selects."""
    if isinstance(method, LateInteraction):
        return late_scores(method, images, count, captions, method.backbone.device)
    if preselected_by_clip(inference):
        return Cosines(*untouched_embeddings(method.backbone, captions, images, count))
    return Cosines(embed_images(method, images, count), embed_captions(method, captions, inference))


def bank_of(method: Method[Any], pairs: Pairs, images: Images, inference: Inference) -> Bank:
    """Returns the bank of training pairs: of many pairs, `SIZE` images and `SIZE` captions that are spread evenly.

    Args:
        method: the method that encodes.
        pairs: the training pairs.
        images: the images of `pairs`, by position.
        inference: complete options of inference (`Inference.of`).
    """
    places, captions = spread(len(pairs)), pairs.captions
    some = [captions[index] for index in spread(len(captions))]
    scores = first_scores(method, some, Chosen(images, places), len(places), inference)
    return Bank(scores, reading=reading(inference), pairs=pairs.fingerprint())


def spread(count: int) -> list[int]:
    """Returns at most `SIZE` positions among `count`, evenly spaced."""
    if count <= SIZE:
        return list(range(count))
    return torch.linspace(0, count - 1, SIZE, dtype=torch.float64).round().long().tolist()


def preselected_by_clip(inference: Inference) -> bool:
    """Returns True if the untouched backbone gives the first scores."""
    return bool(inference.rerank) and inference.preselect == "clip"


def reading(inference: Inference) -> str:
    """Returns the part of complete options of inference that the first scores depend on."""
    return "untouched backbone" if preselected_by_clip(inference) else f"text mode {inference.mode}"


def save_banks(path: Path, banks: dict[str, Bank]) -> None:
    """Writes banks of cosines by name, atomically."""
    tensors: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    for name, bank in banks.items():
        if isinstance(bank.scores, Cosines):
            tensors |= {f"{name}.images": bank.scores.images, f"{name}.captions": bank.scores.texts}
            notes |= {
                f"{name}.beta": repr(bank.beta),
                f"{name}.form": bank.form,
                f"{name}.reading": bank.reading,
                f"{name}.helps": repr(bank.helps),
                f"{name}.pairs": bank.pairs,
            }
            if bank.line is not None:
                notes |= {f"{name}.z": repr(bank.line.z), f"{name}.floor": repr(bank.line.floor)}
    with atomic_file(path) as part:
        save_file(tensors, part, notes)


def load_bank(path: Path, name: str) -> Bank | None:
    """Returns a bank that `save_banks` wrote; None if the file is not there or has no bank of that name."""
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        if f"{name}.images" not in file.keys():  # noqa: SIM118
            return None
        scores = Cosines(file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.captions"))
        notes = file.metadata()
    return Bank(
        scores,
        float(notes[f"{name}.beta"]),
        notes[f"{name}.reading"],
        helps_of(notes, name),
        line_of_notes(notes, name),
        notes.get(f"{name}.pairs", ""),
        cast("Correction", notes.get(f"{name}.form", "bank")),
    )
