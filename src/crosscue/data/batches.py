"""Batches of pairs: a pure function of seed, epoch and step."""

from __future__ import annotations

import heapq
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
        self._starts: dict[int, int] = {}
        """First pair of an image -> the caption of epoch 0."""
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
        following = self._following(drawn)
        first = set(range(len(drawn))) - set(following.values())
        heads = sorted(first)  # a heap: the next place of each caption, so that no batch looks at all that wait
        batches: list[list[tuple[int, int]]] = []
        while heads and len(batches) < self.length:
            batch = [heapq.heappop(heads) for _ in range(min(self.batch_size, len(heads)))]
            for place in batch:
                if place in following:
                    heapq.heappush(heads, following[place])
            while heads and len(batch) < self.batch_size:  # nothing but repetitions is left
                batch.append(heapq.heappop(heads))
                if batch[-1] in following:
                    heapq.heappush(heads, following[batch[-1]])
            batches.append([drawn[place] for place in batch])
        return batches

    def _following(self, drawn: list[tuple[int, int]]) -> dict[int, int]:
        """Returns place -> the next place with the same caption."""
        latest, following = dict[str, int](), dict[int, int]()
        for place, (index, number) in enumerate(drawn):
            caption = self.pairs[index].captions[number]
            if caption in latest:
                following[latest[caption]] = place
            latest[caption] = place
        return following

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
        counts = [len(self.pairs[index].captions) for index in members]
        total = sum(counts)
        if total > 1 and members[0] not in self._starts:
            self._starts[members[0]] = int(np.random.default_rng((self.seed, members[0])).integers(total))
        number = (self._starts.get(members[0], 0) + epoch) % total
        for index, count in zip(members[:-1], counts, strict=False):
            if number < count:
                return index, number
            number -= count
        return members[-1], number
