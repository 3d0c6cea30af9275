"""Work of several processes that torchrun starts: python -m torch.distributed.run ... -m tests.training.ranks PART FOLDER."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from crosscue.backbones.loading import load_backbone
from crosscue.backbones.rows import WHOLE
from crosscue.testing import Case
from crosscue.training.processes import Processes
from tests.grid import CASES
from tests.pairs import gradients, many_pairs


def trained(case: Case, family: str) -> bool:
    """True for a row of the grid that has gradients on a family."""
    return case.method != "zero_shot" and family in case.families


def compared(processes: Processes, families: dict[str, int]) -> dict[str, float]:
    """Returns the largest difference of any gradient from that of one process, for each case on its family and batch size."""
    found = {}
    every = [(case, family) for family in families for case in CASES]
    for number, (case, family) in enumerate(every):
        if trained(case, family):
            backbone = load_backbone(json.loads(os.environ["TINY"])[family], precision="fp32", device="cpu")
            batch = many_pairs(backbone, families[family], known=case.method == "action")
            for at_once in (None, 5):
                own, _ = gradients(case, backbone, batch, processes.rows(at_once))
                if number % processes.world == processes.rank:
                    alone, _ = gradients(case, backbone, batch, WHOLE)
                    assert own.keys() == alone.keys()
                    found[f"{case} on {family} at once {at_once}"] = max(
                        float((own[name] - alone[name]).abs().max()) for name in alone
                    )
    return found


PARTS = {
    "gradients_of_two": lambda processes: compared(processes, {"clip": 32}),
    "gradients_of_three": lambda processes: compared(processes, {"dual": 31, "siglip2": 31}),
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    processes = Processes.found(60)
    every: dict[str, Any] = {}
    for part in sys.argv[2:]:
        found = processes.everywhere(PARTS[part](processes))
        every[part] = {name: value for one in found for name, value in one.items()}
    if processes.main:
        Path(sys.argv[1]).write_text(json.dumps(every))
    processes.wait()
