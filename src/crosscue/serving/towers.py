"""One encoder behind two queues, with a memory of the texts that were asked for last."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from crosscue.encoding.encoder import Encoded, Encoder, Floats, Pixels
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
    """Both towers of an encoder, for requests that run side by side."""

    def __init__(self, encoder: Encoder, metrics: Metrics) -> None:
        """Starts a thread for each tower."""
        self.encoder, self.memory = encoder, Memory()
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

    async def encode_texts(self, texts: Sequence[str]) -> Encoded:
        """N texts -> (N, D) unit vectors; remembered texts cost nothing."""
        rows: dict[str, TextRow | None] = {text: self.memory.get(text) for text in texts}
        new = [text for text, row in rows.items() if row is None]
        if new:
            encoded: list[TextRow] = await asyncio.wrap_future(self.text_queue.submit(new))
            for text, row in zip(new, encoded, strict=True):
                rows[text] = row
                self.memory.put(text, row)
        kept = [rows[text] for text in texts]
        found = [row for row in kept if row is not None]
        return Encoded(np.stack([vector for vector, _ in found]), np.array([left for _, left in found], np.int64))

    async def encode_images(self, images: Sequence[Pixels]) -> Floats:
        """B squares (3, S, S) uint8 -> (B, D) unit vectors."""
        encoded: list[Floats] = await asyncio.wrap_future(self.image_queue.submit(list(images)))
        return np.stack(encoded)

    def _texts(self, texts: Sequence[str]) -> list[TextRow]:
        encoded = self.encoder.encode_texts(texts)
        return [(vector, int(left)) for vector, left in zip(encoded.vectors, encoded.truncated, strict=True)]
