"""The estimate of `crosscue adapt`: steps of real batches, the images once, validation, and what is left in the run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from crosscue.data.batches import Batches
from crosscue.memory import resident_bytes
from crosscue.methods.capabilities import UsesKnowledge, WantsNeighbours, studied
from crosscue.methods.images import check_images
from crosscue.methods.registry import build, config_of, method_class
from crosscue.planning.estimate import Estimate, Part, duration, load_note, size
from crosscue.planning.samples import Costs, Sample, through_frozen_layers
from crosscue.planning.steps import BESIDE, SECONDS, Step, enlarged, steps
from crosscue.retrieval.bank import SIZE
from crosscue.selection.single import parts_of
from crosscue.storage import cache_dir
from crosscue.training.memory import free_bytes
from crosscue.training.stages import Plan, stages_of

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.data.pairs import Pairs
    from crosscue.methods.contract import Method
    from crosscue.training.config import TrainingConfig

STATES = {"sgd": 1, "adamw": 2}
"""Tensors that an optimiser keeps for each parameter."""
COPIES = 3
"""Copies of the parameters in a run folder: the last and the best checkpoint, and the adapter."""
LARGEST, SHORT = 1 << 20, 0.01
"""The largest batch that is named, and the seconds up to which a part is left out."""


def adapting(
    source: Pairs,
    name: str,
    options: Mapping[str, Any] | object | None,
    backbone: Backbone,
    training: TrainingConfig,
    *,
    shots: int | None = None,
    validation: float | bool | None = None,
    folds: int | None = None,
    processes: int = 1,
) -> Estimate:
    """Returns the estimate of a training of one method. The arguments are those of `crosscue.adapt`.

    Raises:
        CrosscueError: the training would be refused.
    """
    train, val = parts_of(source, shots, validation, folds, training)
    torch.manual_seed(training.seed)
    method = build(name, backbone, config_of(method_class(name), options))
    for part in (train, val or train):
        check_images(part, method, training.augmentation)
    batches = Batches(train, training.batch_size, training.seed)
    first = batches.step(0, 0)
    sample = Sample(train.part(train[index] for index, _ in first), method, augmented=training.augmentation != "none")
    free, base = free_bytes(backbone.device), resident_bytes()
    start = time.perf_counter()
    with studied(method, sample.pairs, sample.pairs.captions):
        study = (time.perf_counter() - start) / len(sample.pairs.captions) if isinstance(method, UsesKnowledge) else 0.0
        spans = [
            (span.stage.name, span.epochs, enlarged(measured, batches.batch_size))
            for span, measured in measured_stages(method, sample, [number for _, number in first], training)
        ]
        costs = sample.costs(build("zero_shot", backbone))
    largest = max((found for _, _, found in spans), key=lambda found: found.kept)
    per_epoch = len(batches.images) / batches.batch_size
    trainings = folds or 1  # the folds are as much work as one training less than their number, and all pairs follow
    parts = [
        *once(method, costs, train, val, study, augmented=sample.augmented),
        *(
            Part(
                f"{epochs * len(batches) * trainings:,} steps of {found.rows} pairs{named(stage, spans)}",
                epochs * per_epoch * trainings * found.seconds,
            )
            for stage, epochs, found in spans
        ),
        *validations(costs, train, val, training, folds),
    ]
    learned = sum(tensor.nbytes for tensor in method.learned_state().values())
    of_device = float(torch.cuda.memory_allocated(backbone.device)) if backbone.device.type == "cuda" else base
    fixed = of_device + learned * (1 + STATES[training.optimizer])
    memory = processes * (fixed + kept(largest, training.chunk, processes))
    room = free + (base if backbone.device.type == "cpu" else of_device)
    return Estimate(
        title(method, backbone, train, val),
        parts,
        memory,
        room,
        [*cached(method, backbone, train, val, augmented=sample.augmented), ("in the run folder", COPIES * learned)],
        [*fitting(largest, fixed, room, training, processes), *shared(processes, backbone)],
        [measured_line(largest), *load_note()],
    )


def measured_stages(
    method: Method[Any], sample: Sample, captions: list[int], training: TrainingConfig
) -> list[tuple[Any, list[Step]]]:
    """Returns each stage of a training with its measured steps."""
    plan, found = Plan(stages_of(method), training.epochs), []
    training = replace(training, batch_size=len(sample.pairs))
    for span in plan.spans:
        plan.enter(method, span.start)
        method.train()
        limit = SECONDS / len(plan.spans)
        found.append((span, steps(method, lambda rows: sample.batch(rows, captions), training, limit)))
        method.eval()
    return found


def once(
    method: Method[Any], costs: Costs, train: Pairs, val: Pairs | None, study: float, *, augmented: bool
) -> list[Part]:
    """Returns the parts before the first step."""
    images, captions = len(train) + len(val or ()), len(train.captions) + len(val.captions if val else ())
    parts = [Part(f"{images:,} images read and decoded, unless the cache has them", images * costs.decode)]
    if costs.prefix:
        computed = through_frozen_layers(len(train)) + through_frozen_layers(len(val or ()))
        parts.append(Part(f"{images:,} images through frozen layers, likewise", computed * costs.prefix))
    if method.image_use.untouched and not augmented and method.image_use.frozen_layers != "pooled":
        parts.append(Part(f"{len(train):,} images through the untouched tower", len(train) * costs.tower))
    if isinstance(method, WantsNeighbours) and method.companions:
        seconds = len(train) * costs.tower + len(train.captions) * costs.untouched_text
        parts.append(Part("neighbours of the training images", seconds))
    if study:
        parts.append(Part(f"knowledge of {captions:,} captions", captions * study))
    return [part for part in parts if part.seconds > SHORT]


def validations(
    costs: Costs, train: Pairs, val: Pairs | None, training: TrainingConfig, folds: int | None
) -> list[Part]:
    """Returns the validations, and the encodings at the end of a run."""
    parts = []
    held = train if folds else val
    if held is not None:
        count = 1 + math.ceil(training.epochs / training.validate_every)
        one = len(held) * costs.image + len(held.captions) * costs.text + len(held) * len(held.captions) * costs.late
        parts.append(Part(f"{count} validations of {len(held):,} images", count * one))
    images, texts = min(len(train), SIZE), min(len(train.captions), SIZE)
    own = images * costs.image + texts * costs.text + images * texts * costs.late
    untouched = images * costs.tower + texts * costs.untouched_text
    if val is not None:
        own += len(val) * costs.image + len(val.captions) * costs.text + len(val) * len(val.captions) * costs.late
        untouched += len(val) * costs.tower + len(val.captions) * costs.untouched_text
    return [*parts, Part("banks and temperatures of the run", own + untouched)]


def kept(found: Step, chunk: int | None, processes: int = 1) -> float:
    """Returns the memory of a step beside weights and parameters; in chunks that of one chunk."""
    rows = math.ceil(found.rows / processes)
    return BESIDE * found.kept * min(rows, chunk or rows) / found.rows


def fitting(found: Step, fixed: float, room: float, training: TrainingConfig, processes: int) -> list[str]:
    """Returns the largest batch that fits, and the remedy where the batch of the run does not."""
    each = BESIDE * found.kept / found.rows  # of a pair
    if not each:
        return []
    most = int((0.9 * room / processes - fixed) / each)
    if most < 1:
        return ["not even one pair fits: use a smaller --image_size, or --precision bf16"]
    power = min(1 << (most.bit_length() - 1), LARGEST)
    lines = [f"a pair needs {size(each)}, so batches of up to {power:,} fit"]
    if not training.chunk and found.rows > most:
        needed = size(fixed + each * power)
        lines.append(f"--training.rows_at_once {power} gives the same gradients in {needed}, in 1.5 x the time")
    return lines


def cached(
    method: Method[Any], backbone: Backbone, train: Pairs, val: Pairs | None, *, augmented: bool
) -> list[tuple[str, float]]:
    """Returns the bytes that the cache gets, unless it has them."""
    images, side = len(train) + len(val or ()), backbone.pixels.size
    found = [(f"of pixels in {cache_dir()}", float(images * 3 * side * side))]
    layers = method.image_use.frozen_layers
    if augmented or not layers:
        return found
    width = backbone.precision.dtype.itemsize
    row = (
        4 * (backbone.embed_dim + backbone.image_width)
        if layers == "pooled"
        else width * backbone.image_width * (backbone.patch_count + 1)
    )
    return [*found, ("of frozen layers there", float(images * row))]


def title(method: Method[Any], backbone: Backbone, train: Pairs, val: Pairs | None) -> str:
    """Returns the line about the run."""
    held = f", {len(val):,} validate" if val else ""
    where = f"{backbone.source}, {backbone.pixels.size} px, {backbone.precision.name}, {backbone.device.type}"
    return f"{method.name} on {where}: {len(train):,} images train{held}"


def measured_line(found: Step) -> str:
    """Returns the line about the measured step."""
    return (
        f"measured: a step of {found.rows} pairs is {found.flops / 1e9:,.1f} GFLOP, at {found.rate / 1e9:,.0f} GFLOP/s "
        f"{duration(found.seconds)}"
    )


def named(stage: str, spans: list[Any]) -> str:
    """Returns the end of the name of a part, where there are several stages."""
    return f", {stage}" if len(spans) > 1 else ""


def shared(processes: int, backbone: Backbone) -> list[str]:
    """Returns the lines about several processes."""
    if processes == 1:
        return []
    if backbone.device.type == "cpu":
        return [
            f"{processes} processes share the cores of this machine: the time is about that of one, the memory is of all"
        ]
    return [f"the time is that of one GPU; {processes} were not measured, and cannot be faster than {processes} x"]
