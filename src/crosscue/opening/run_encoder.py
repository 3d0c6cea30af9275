"""A run as an encoder, with torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from crosscue.encoding.encoder import Encoded, Explanation, Floats, Identity, Pixels
from crosscue.encoding.hubness import TextBank, load_text_bank
from crosscue.errors import MethodError, suggestion
from crosscue.explaining.places import explained
from crosscue.methods.capabilities import KnowsUncertainty, ReadsTogether, ScoresPairs, require_vectors
from crosscue.methods.lengths import room
from crosscue.retrieval.bank import FILE, reading
from crosscue.retrieval.options import Inference
from crosscue.run import Run

if TYPE_CHECKING:
    from crosscue.data.pixels import PixelSpec

RERANKING = "pairs"
"""Name of the one mode that `crosscue evaluate --rerank` has too."""


class RunEncoder:
    """A run as an `Encoder`. One thread at a time uses its towers."""

    def __init__(self, run: Run) -> None:
        require_vectors(run.method)
        self.run = run
        method, backbone = run.method, run.method.backbone
        self.pixels: PixelSpec = backbone.pixels
        self.identity = Identity(
            run=run.fingerprint,
            source=str(run.folder or method.name),
            method=method.name,
            backbone=backbone.source,
            width=backbone.embed_dim,
            image_size=backbone.pixels.size,
            runtime="torch",
            precision=backbone.precision.name,
        )
        self.bank: TextBank | None = None
        if run.folder is not None:
            self.bank = load_text_bank(run.folder / FILE, reading(Inference(rerank=False).of(method)))
        self.rerank_modes: tuple[str, ...] = (RERANKING,) if reranks(run) else ()
        self._room = room(run.method)
        self._alone = threading.RLock()

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """See `Encoder.encode_texts`."""
        if not texts:
            return Encoded(np.empty((0, self.identity.width), np.float32), np.empty(0, np.int64))
        count = self.run.method.backbone.token_count
        with self._alone:
            pieces = np.array([count(text) for text in texts])
            vectors = self.run.encode_text(texts).float().numpy()
        return Encoded(vectors, np.maximum(pieces - self._room, 0))

    def encode_images(self, pixels: Pixels) -> Floats:
        """See `Encoder.encode_images`."""
        method = self.run.method
        with self._alone, torch.no_grad():
            return method.encode_image(torch.from_numpy(pixels).to(method.backbone.device)).cpu().numpy()

    def rerank(self, mode: str, text: str, pixels: Pixels, plain: Floats) -> Floats:
        """See `Encoder.rerank`."""
        if mode not in self.rerank_modes:
            raise MethodError(
                f"'{self.identity.method}' has no re-ranking '{mode}'.{suggestion(mode, self.rerank_modes or ('none',))}"
            )
        method = self.run.method
        device = method.backbone.device
        images, first = torch.from_numpy(pixels).to(device), torch.from_numpy(plain).to(device)  # (B, 3, S, S), (B,)
        with self._alone, torch.no_grad():
            if isinstance(method, ScoresPairs):
                scores = method.pair_scores(method.pair_features(images), first, [text] * len(plain))
            else:
                assert isinstance(method, ReadsTogether)  # `reranks` has no other
                caption = method.encode_text([text]).expand(len(plain), 1, -1)  # (B, 1, D)
                scores = method.scores_given_texts(images, [[text]] * len(plain), caption, first[:, None])[:, 0]
            return scores.float().cpu().numpy()

    def explain(self, pixels: Pixels, text: str) -> Explanation:
        """See `Explainer.explain`."""
        with self._alone:
            return explained(self.run.method, torch.from_numpy(pixels), text)

    def uncertainty(self, scores: Floats) -> float | None:
        """See `Encoder.uncertainty`."""
        method = self.run.method
        if not isinstance(method, KnowsUncertainty):
            return None
        with self._alone, torch.no_grad():
            return float(method.query_uncertainty(torch.from_numpy(scores)[None].to(method.backbone.device))[0])


def reranks(run: Run) -> bool:
    """Returns True if a run can score candidates again."""
    method = run.method
    if isinstance(method, ScoresPairs):
        try:
            method.require_pairs()
        except MethodError:  # an option of the run leaves nothing to score pairs by
            return False
        return True
    return isinstance(method, ReadsTogether)
