"""Work of several processes that torchrun starts: python -m torch.distributed.run ... -m tests.training.ranks PART ..."""

from __future__ import annotations

import copy
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

import crosscue
from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone, fingerprint_of_tensors
from crosscue.backbones.rows import WHOLE, divided
from crosscue.errors import ProcessError
from crosscue.methods.dual_prompt import DualPrompt
from crosscue.testing import Case
from crosscue.training import starts
from crosscue.training.checkpoints import Position
from crosscue.training.config import TrainingConfig
from crosscue.training.processes import Processes
from tests.grid import CASES
from tests.pairs import gradients, many_pairs
from tests.training.runs import config

STEPS = {"dcar": 24, "acke": 24, "dual_prompt": 48}
RUNS: dict[str, dict[str, Any]] = {
    "dcar": {"ca": False, "weights_image": "frozen"},
    "acke": {"pool_size": 6, "top_k": 2},
    "dual_prompt": {"image_start_layer": 1},
}


def place() -> Path:
    """The folder of the test."""
    return Path(os.environ["PLACE"])


@functools.cache
def tiny(family: str, precision: str = "fp32") -> Backbone:
    """A tiny backbone from the folder that the test has made."""
    return load_backbone(json.loads(os.environ["TINY"])[family], precision=precision, device="cpu")


def options_of(method: str, **more: Any) -> TrainingConfig:
    """Options of a run of so many steps, four in an epoch."""
    return config(epochs=STEPS[method] // 4, checkpoint_every=5, **more)


TRAINED = [case for case in CASES if case.method != "zero_shot"]
"""Rows of the grid that have gradients."""


def combinations(families: list[str]) -> Iterator[tuple[Case, str, int | None]]:
    """Yields each row with one of the families and a number of rows at once; with CROSSCUE_FULL, with all of them."""
    for number, case in enumerate(TRAINED):
        usable = [family for family in families if family in case.families]
        if "CROSSCUE_FULL" in os.environ:
            yield from ((case, family, at_once) for family in usable for at_once in (None, 5))
        else:
            yield case, usable[number % len(usable)], (None, 5)[(number // 2 + len(families)) % 2]


def compared(processes: Processes, families: dict[str, int]) -> dict[str, float]:
    """Returns the largest difference of any gradient from that of one process, for each row of the grid.

    The rows take turns with the families, each with a batch size of its own. Half of them compute five images at once. With two
    families it is the other half.
    """
    found = {}
    for number, (case, family, at_once) in enumerate(combinations(list(families))):
        backbone = copy.deepcopy(tiny(family))
        batch = many_pairs(backbone, families[family], known=case.method == "action")
        own, _ = gradients(case, backbone, batch, processes.rows(at_once))
        if number % processes.world == processes.rank:
            alone, _ = gradients(case, backbone, batch, WHOLE)
            assert own.keys() == alone.keys()
            found[f"{case} on {family} at once {at_once}"] = max(
                float((own[name] - alone[name]).abs().max()) for name in alone
            )
    return found


def rounded(processes: Processes) -> dict[str, float]:
    """Returns the cosine of the gradients in bf16 with those of one process."""
    backbone, case = tiny("clip", "bf16"), Case("dual_prompt", {"depth": 2})
    batch = many_pairs(backbone, 31)
    both = [gradients(case, backbone, batch, rows)[0] for rows in (processes.rows(None), WHOLE)]
    one, other = (torch.cat([gradient.flatten() for gradient in found.values()]) for found in both)
    states = []
    for rows in (processes.rows(None), WHOLE):
        with divided(backbone, rows):
            states.append(backbone.image_state(batch.images, 1).tokens.float())
    apart = float((states[0] - states[1]).abs().max())
    cosine = float(torch.cosine_similarity(one, other, dim=0))
    return {"cosine": cosine, "state": apart} if processes.main else {}


def adapted(processes: Processes) -> dict[str, int]:
    """Trains some methods; returns the number of different sets of tensors among the processes."""
    found = {}
    for method, options in RUNS.items():
        training = options_of(method, trackers=("tensorboard",) if method == "dcar" else ())
        run = crosscue.adapt(
            *(place(), method, json.loads(os.environ["TINY"])["clip"]),
            out=place() / f"{method}_on_{processes.world}",
            options=options,
            training=training,
            precision="fp32",
        )
        found[method] = len(set(processes.everywhere(fingerprint_of_tensors(run.method.learned_state()), "test")))
    return found


def refused(processes: Processes) -> dict[str, str]:
    """Returns the messages where process 1 was given something else."""
    found = {}
    for what in ("data", "images", "version", "weights", "seed"):
        other = processes.rank == 1
        own = json.loads(os.environ["TINY"])
        try:
            with patch.object(starts, "__version__", "0.0.1" if other and what == "version" else crosscue.__version__):
                crosscue.adapt(
                    place() / what if other and what in ("data", "images") else place(),
                    "coop",
                    own["siglip" if other and what == "weights" else "clip"],
                    out=place() / f"refused_{what}",
                    training=config(seed=7 if other and what == "seed" else 1),
                    record={"data": "the same"},
                    precision="fp32",
                )
        except ProcessError as error:
            found[f"{what} {processes.rank}"] = str(error)
    return found


def first(processes: Processes) -> dict[str, int]:
    """Returns the times between the work of the first process and that of the others."""
    at = processes.everywhere(processes.first(lambda: (time.sleep(0.2), time.monotonic_ns())[1]), "test")
    return {"least": min(at[1:]) - at[0]} if processes.main else {}


def apart(processes: Processes) -> dict[str, Any]:
    """Returns the ends of comparisons of tensors that differ a little, much, and not."""
    found: dict[str, Any] = {}
    for name, by in (("none", 0.0), ("little", 1e-6), ("much", 1.0)):
        state = {"a": torch.ones(3) + by * processes.rank, "b": torch.zeros(2)}
        try:
            processes.check_equal(state)
            found[f"{name} {processes.rank}"] = float(state["a"].sum())
        except ProcessError as error:
            found[f"{name} {processes.rank}"] = str(error)
    return found


class OnOne(DualPrompt):
    """A planted fault: process 0 encodes some images that the others do not."""

    def losses(self, batch: Any) -> dict[str, torch.Tensor]:
        """Encodes the images once more on process 0."""
        if self.backbone.rows.rank == 0:
            self.encode_image(batch.images)
        return super().losses(batch)


def fault(processes: Processes) -> dict[str, str]:
    """Returns the messages of the processes about the planted fault."""
    backbone = tiny("clip")
    try:
        with processes.named(place(), Position(step=4)):
            gradients(Case(OnOne), backbone, many_pairs(backbone, 8), processes.rows(None))
            processes.agree(False)
    except ProcessError as error:
        return {f"{processes.rank}": str(error)}
    return {}


def silent() -> None:
    """Lets process 1 come too late, and writes the message of process 0."""
    dist.destroy_process_group()
    Processes._found.clear()
    os.environ["TORCHELASTIC_RESTART_COUNT"] = "1"
    again = Processes.found(3)
    time.sleep(8 * again.rank)
    try:
        with again.named(place(), Position(step=4)):
            again.agree(False)
    except ProcessError as error:
        (place() / f"silent{again.rank}.txt").write_text(str(error))


PARTS: dict[str, Callable[[Processes], dict[str, Any]]] = {
    "gradients_of_two": lambda processes: compared(processes, {"clip": 32}),
    "gradients_of_three": lambda processes: compared(processes, {"dual": 31, "siglip2": 31}),
    "rounded": rounded,
    "adapted": adapted,
    "refused": refused,
    "first": first,
    "apart": apart,
    "fault": fault,
}


def work(*parts: str) -> None:
    """Does the parts, and writes what all processes found."""
    torch.set_num_threads(1)
    processes = Processes.found(60)
    every: dict[str, Any] = {}
    for part in parts:
        if part in PARTS:
            found = processes.everywhere(PARTS[part](processes), "test")
            every[part] = {name: value for one in found for name, value in one.items()}
    if processes.main:
        (place() / f"found_by_{processes.world}.json").write_text(json.dumps(every))
    processes.wait()
    if "silent" in parts:
        silent()


if __name__ == "__main__":
    work(*sys.argv[1:])
