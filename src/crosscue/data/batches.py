"""Batches of pairs: a pure function of seed, epoch and step."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from crosscue.errors import DataError

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs


class Batches:
    """Draws every image once an epoch, with the next of its captions, never one image twice in a batch.

    Equal captions are kept out of one batch as far as the pairs allow. The last, smaller batch is kept when it has at
    least two images. With companions, a batch is made of small groups of neighbours.
    """

    def __init__(
        self, pairs: Pairs, batch_size: int, seed: int, companions: int = 0, near: np.ndarray | None = None
    ) -> None:
        """Prepares the first epoch.

        Args:
            pairs: the training pairs.
            batch_size: images in a batch.
            seed: seed of all draws.
            companions: number of nearest images that share a batch with each image; 0 leaves batches to chance.
            near: (pairs, K) nearest pairs of each pair.
        """
        self.pairs, self.seed = pairs, seed
        self.companions, self.near = companions, near
        by_image: dict[str, list[int]] = defaultdict(list)
        for index, pair in enumerate(pairs):
            if pair.captions:
                by_image[pair.image_id].append(index)
        self.images = list(by_image.values())  # the pairs of each image
        if len(self.images) < 2:
            raise DataError(
                f"{pairs.source}: {len(self.images)} image(s) with captions; training needs at least 2. "
                f"Look at the source: crosscue data check {pairs.origin}"
            )
        self.batch_size = min(batch_size, len(self.images))
        full, rest = divmod(len(self.images), self.batch_size)
        self.length = full + (rest >= 2)
        self._epoch, self._order = -1, list[list[tuple[int, int]]]()

    def __len__(self) -> int:
        return self.length

    def step(self, epoch: int, step: int) -> list[tuple[int, int]]:
        """Returns the batch of a step: (index of the pair, index of its caption)."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._batches(epoch)
        return self._order[step]

    def _batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        shuffled = np.random.default_rng((self.seed, epoch)).permutation(len(self.images)).tolist()
        ordered = self._with_companions(shuffled, epoch) if self.near is not None and self.companions else shuffled
        drawn = [self._draw(self.images[image], epoch) for image in ordered]
        batches: list[list[tuple[int, int]]] = []
        waiting = drawn
        while waiting and len(batches) < self.length:
            batch, used, left = list[tuple[int, int]](), set[str](), list[tuple[int, int]]()
            for item in waiting:
                caption = self.pairs[item[0]].captions[item[1]]
                if len(batch) < self.batch_size and caption not in used:
                    batch.append(item)
                    used.add(caption)
                else:
                    left.append(item)
            while len(batch) < min(self.batch_size, len(waiting)):  # nothing but repetitions is left
                batch.append(left.pop(0))
            batches.append(batch)
            waiting = left
        return batches

    def _with_companions(self, shuffled: list[int], epoch: int) -> list[int]:
        """Returns the images with some free neighbours behind each, drawn anew every epoch."""
        assert self.near is not None
        image_of = {pair: image for image, members in enumerate(self.images) for pair in members}
        free, order = set(shuffled), list[int]()
        for image in shuffled:
            if image not in free:
                continue
            neighbours = dict.fromkeys(
                image_of[pair] for pair in self.near[self.images[image][0]].tolist() if pair in image_of
            )
            near = [other for other in neighbours if other in free and other != image]
            drawn = np.random.default_rng((self.seed, epoch, image)).permutation(len(near))[: self.companions]
            group = [image, *(near[place] for place in drawn.tolist())]
            free.difference_update(group)
            order += group
        return order

    def _draw(self, members: list[int], epoch: int) -> tuple[int, int]:
        """Returns the next caption of an image; the first one differs between images."""
        choices = [(index, number) for index in members for number in range(len(self.pairs[index].captions))]
        start = int(np.random.default_rng((self.seed, members[0])).integers(len(choices)))
        return choices[(start + epoch) % len(choices)]
