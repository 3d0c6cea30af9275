"""A run: a method with what it has learned, which encodes, ranks and is evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosscue.backbones.embedding import embed_texts
from crosscue.configuration import configured
from crosscue.data.pairs import Pairs
from crosscue.data.sources import as_pairs
from crosscue.data.splits import held_out
from crosscue.data.stream import Given, given_texts, require_readable
from crosscue.evaluation.calibration import divisors
from crosscue.evaluation.result import Retrieval
from crosscue.measurement import OWN, bank_for, measured, unseen
from crosscue.methods.capabilities import require_vectors, text_modes
from crosscue.methods.contract import Method
from crosscue.retrieval.confidence import Temperatures
from crosscue.retrieval.options import Inference
from crosscue.retrieval.ranking import Candidate, best_candidates
from crosscue.retrieval.streaming import encoded_images
from crosscue.training import runs
from crosscue.training.loop import Outcome


class Run:
    """An adapted model, which encodes images and texts and can be evaluated."""

    def __init__(self, method: Method[Any], folder: Path | None = None, outcome: Outcome | None = None) -> None:
        self.method, self.folder, self.outcome = method, folder, outcome

    def __repr__(self) -> str:
        return f"Run(method={self.method.name!r}, backbone={self.method.backbone.source!r}, folder={self.folder})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over backbone, method, options and learned tensors: equal if equal inputs get equal embeddings."""
        return runs.fingerprint(self.method)

    @property
    def temperatures(self) -> Temperatures | None:
        """Temperatures that were fitted on the run's validation pairs; None without any. See `largest_probability`."""
        return None if self.folder is None else Temperatures.load(self.folder)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (N, D) unit vectors.

        Raises:
            CrosscueError: `texts` is one text, an item is none, or the method has no one vector a text.
        """
        require_vectors(self.method)
        found = given_texts(texts)
        if not found:
            return torch.empty(0, self.method.backbone.embed_dim)
        mode = text_modes(self.method)[0]  # as evaluation ranks
        return embed_texts(found, lambda some: self.method.encode_text(some, mode))

    def encode_image(self, images: Iterable[Given]) -> Tensor:
        """Paths, opened images or arrays -> (N, D) unit vectors. `encoded_images` does the same in bounded memory.

        Raises:
            CrosscueError: images cannot be read, `images` is one image, or the method has no one vector an image.
        """
        require_vectors(self.method)
        batches = list(encoded_images(self.method, images))
        require_readable(batches)
        return torch.cat([torch.empty(0, self.method.backbone.embed_dim), *(batch.vectors for batch in batches)])

    def evaluate(
        self,
        pairs: Pairs | str | Path,
        inference: Inference | Mapping[str, Any] | None = None,
        bank: Pairs | str | Path | None = None,
    ) -> Retrieval:
        """Measures retrieval in both directions on held-out pairs; images that the run learned from are left out.

        Args:
            pairs: pairs of one split, which are used as they are; otherwise see `held_out`.
            inference: options of inference; default those of the method.
            bank: training pairs for `inference.normalise`; default the bank of the run folder.

        Raises:
            DataError: a source cannot be read, or holds nothing but training pairs.
        """
        choices = configured(Inference, inference, "inference").effective(self.method)
        chosen = pairs if isinstance(pairs, Pairs) and len(pairs.splits) == 1 else held_out(as_pairs(pairs))
        chosen, entries = unseen(self.folder, chosen)
        own = bank_for(self.method, self.folder, OWN, chosen, None if bank is None else as_pairs(bank), choices)
        known = divisors(self.method, choices.normalise, self.temperatures)
        result = measured(self.method, chosen, choices, bank=own, temperatures=known)
        return replace(result, protocol=result.protocol | entries)

    def rank(
        self,
        query: Given,
        candidates: Iterable[Given],
        top: int = 20,
        inference: Inference | Mapping[str, Any] | None = None,
        bank: Pairs | str | Path | None = None,
    ) -> list[Candidate]:
        """Returns the best images of a text, or the best texts of an image, as `evaluate` ranks them; see `best_candidates`."""
        choices = configured(Inference, inference, "inference").effective(self.method).of(self.method)
        queries = bank_for(self.method, self.folder, OWN, None, None if bank is None else as_pairs(bank), choices)
        return best_candidates(self.method, query, candidates, top, choices, queries)
