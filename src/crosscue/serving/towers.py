"""One encoder behind two queues, with a memory of the latest texts."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from crosscue.encoding.encoder import Encoded, Encoder, Explainer, Explanation, Floats, Pixels
from crosscue.encoding.occlusion import explained
from crosscue.serving.batching import Batcher
from crosscue.serving.metrics import Metrics

TEXTS_AT_ONCE, IMAGES_AT_ONCE = 32, 8
REMEMBERED = 4096
"""Vectors of texts in memory: 8 MB at D = 512."""

TextRow = tuple[Floats, int]
"""(D,) and the number of word pieces that were not read."""


class Memory:
    """The latest texts with their vectors. Threads may share it."""

    def __init__(self, places: int = REMEMBERED) -> None:
        self.places = places
        self._rows: OrderedDict[str, TextRow] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> TextRow | None:
        """Returns the row of a text and makes it the latest."""
        with self._lock:
            if text not in self._rows:
                return None
            self._rows.move_to_end(text)
            return self._rows[text]

    def put(self, text: str, row: TextRow) -> None:
        """Adds a row; the oldest one leaves when all places are taken."""
        with self._lock:
            self._rows[text] = row
            self._rows.move_to_end(text)
            while len(self._rows) > self.places:
                self._rows.popitem(last=False)


class Towers:
    """An `Encoder` around another one, for requests in many threads: what waits is encoded together."""

    def __init__(self, encoder: Encoder, metrics: Metrics) -> None:
        """Starts a thread for each tower."""
        self.encoder, self.memory = encoder, Memory()
        self.identity, self.pixels, self.bank = encoder.identity, encoder.pixels, encoder.bank
        self.rerank_modes, self.rerank, self.uncertainty = encoder.rerank_modes, encoder.rerank, encoder.uncertainty
        sizes = metrics.batches
        self.text_queue: Batcher[str, TextRow] = Batcher(
            self._texts, TEXTS_AT_ONCE, observe=sizes.labels("text").observe
        )
        self.image_queue: Batcher[Pixels, Floats] = Batcher(
            lambda items: list(encoder.encode_images(np.stack(items))),
            IMAGES_AT_ONCE,
            observe=sizes.labels("image").observe,
        )

    def close(self) -> None:
        """Answers what waits and ends both threads."""
        self.text_queue.close()
        self.image_queue.close()

    def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """See `Encoder.encode_texts`; remembered texts cost nothing."""
        rows: dict[str, TextRow | None] = {text: self.memory.get(text) for text in texts}
        new = [text for text, row in rows.items() if row is None]
        if new:
            for text, encoded in zip(new, self.text_queue.submit(new).result(), strict=True):
                rows[text] = encoded
                self.memory.put(text, encoded)
        kept = [row for text in texts if (row := rows[text]) is not None]
        return Encoded(np.stack([vector for vector, _ in kept]), np.array([left for _, left in kept], np.int64))

    def encode_images(self, pixels: Pixels) -> Floats:
        """See `Encoder.encode_images`."""
        return np.stack(self.image_queue.submit(list(pixels)).result())

    def explain(self, pixels: Pixels, text: str) -> Explanation:
        """Returns the parts of a score: direct effects where the encoder has them, else those of greyed cells."""
        if isinstance(self.encoder, Explainer):
            return self.encoder.explain(pixels, text)
        return explained(self.encoder, pixels, text)

    def _texts(self, texts: Sequence[str]) -> list[TextRow]:
        encoded = self.encoder.encode_texts(texts)
        return [(vector, int(left)) for vector, left in zip(encoded.vectors, encoded.truncated, strict=True)]
