"""The estimate of `crosscue evaluate`: a few pairs encoded, and passes over all scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from crosscue.evaluation.slices import knowledge_of, unread
from crosscue.memory import resident_bytes
from crosscue.methods.registry import build
from crosscue.planning.estimate import Estimate, Part, evenly, load_note, measured
from crosscue.planning.samples import ENCODED, Sample, through_frozen_layers
from crosscue.training.memory import free_bytes

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method
    from crosscue.retrieval.options import Inference

PASSES = 2.5
"""Time of all readers of one pass over the scores of a result, in products of the same size; docs/performance.md."""
PAGE, BOOTSTRAP = 1.6, 1.1e-4
"""Seconds of the page of a report, and of intervals and tests for each image; docs/performance.md."""
BLOCK, WIDE = 1_024, 4_096
"""Images and captions of the product that gives the rate of a pass."""
PARSED = 32
"""Captions that are read by spaCy to measure the rate."""
HELD = 19
"""Measured memory of a tower that encodes, in tensors of the size of its input; what both need adds up."""
IMAGES, TEXTS = 32, 128
"""Images and texts that are encoded at once."""
LONGEST = 8
"""Captions with the most bytes, among which the one with the most tokens is sought."""


def evaluating(method: Method[Any], pairs: Pairs, inference: Inference, *, trained: bool) -> Estimate:
    """Returns the estimate of an evaluation.

    Args:
        method: the method of the run.
        pairs: the pairs to evaluate on.
        inference: complete options of inference.
        trained: True for a run folder, which is compared with its untouched backbone.
    """
    room = free_bytes(method.backbone.device) + resident_bytes()
    wording = reading(pairs.captions)
    base = resident_bytes()
    some = pairs.part(pairs[index] for index in evenly(len(pairs), ENCODED))
    costs = Sample(some, method).costs(build("zero_shot", method.backbone))
    images, captions, results = len(pairs), len(pairs.captions), 2 if trained else 1
    parts = [Part(f"{images:,} images read and decoded, unless the cache has them", images * costs.decode)]
    if costs.prefix:
        seconds = through_frozen_layers(images) * costs.prefix
        parts.append(Part(f"{images:,} images through frozen layers, likewise", seconds))
    parts.append(Part(f"{images:,} images through the method", images * costs.image))
    parts.append(Part(f"{captions:,} captions through the method", captions * costs.text))
    if trained:
        before = images * costs.tower + captions * costs.untouched_text
        parts.append(Part("both through the untouched backbone", before))
    if costs.late:
        parts.append(Part("scores of all tokens", images * captions * costs.late))
    scores = PASSES * results * images * captions * seconds_of_a_score(method.backbone.embed_dim)
    parts.append(Part("ranks, recall, calibration and folds", scores))
    parts.append(Part("intervals, tests and the page", (images * BOOTSTRAP + PAGE) if trained else images * BOOTSTRAP))
    parts += wording
    vectors = 4.0 * method.backbone.embed_dim * (images + captions) * results
    left_out = {"re-ranking": inference.rerank, "normalising with a bank": inference.normalise != "none"}
    remedies = [f"{what} is not counted: it comes on top" for what, asked in left_out.items() if asked]
    memory = base + encoding_bytes(method.backbone, images, pairs.captions) + vectors + 4.0 * images * BLOCK
    return Estimate(
        f"{method.name}: {images:,} images, {captions:,} captions",
        parts,
        memory,
        room,
        (),
        remedies,
        load_note(),
    )


def seconds_of_a_score(width: int) -> float:
    """Returns the seconds of one score in a product of many vectors of this width."""
    images, captions = torch.ones(BLOCK, width), torch.ones(WIDE, width)
    return measured(lambda: images @ captions.T) / (BLOCK * WIDE)


def reading(captions: Sequence[str]) -> list[Part]:
    """Returns the part in which spaCy reads the wording of captions; none where it is not installed."""
    start = time.perf_counter()
    if unread():
        return []
    distinct = list(dict.fromkeys(captions))
    some = [distinct[index] for index in evenly(len(distinct), PARSED)]
    knowledge_of(tuple(some[:1]))  # loads the dictionary too
    loading, start = time.perf_counter() - start, time.perf_counter()
    knowledge_of(tuple(some))
    each = (time.perf_counter() - start) / len(some)
    return [Part(f"wording of {len(distinct):,} captions, by spaCy", loading + len(distinct) * each)]


def encoding_bytes(backbone: Backbone, images: int, captions: Sequence[str]) -> float:
    """Returns the memory beside the weights in which the towers encode."""
    longest = sorted(set(captions), key=lambda text: len(text.encode()))[-LONGEST:]
    positions = min(max(map(backbone.token_count, longest)) + 2, backbone.context_length)
    image = backbone.image_width * (backbone.patch_count + 1) * min(IMAGES, images)
    text = backbone.text_width * positions * min(TEXTS, len(captions))
    return float(HELD * (image + text) * backbone.precision.dtype.itemsize)
