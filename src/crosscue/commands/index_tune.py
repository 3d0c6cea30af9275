"""crosscue index tune DIR: recall and cost of the settings of an index, on texts and on images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.parser import options_parser


@dataclass(frozen=True)
class TuneOptions:
    """Options of `crosscue index tune`."""

    name: str | None = None
    """Space to tune; default all that have an index."""
    precision: str = "auto"
    """dtype of the text tower: auto, fp32 or bf16; of an export fp32 or w8."""
    device: str | None = None
    """Device, such as cpu or cuda; default the GPU if there is one."""


def run(arguments: list[str]) -> int:
    """Measures, keeps the cheapest setting with enough recall, and prints all."""
    parser = options_parser(
        "index tune",
        "Measures the index of a collection on texts and on images, and keeps the cheapest setting with recall@10 of .97.",
        (TuneOptions, None),
    )
    parser.add_argument("collection", type=Path, help="The collection, or the folder of images that holds it.")
    given = parser.instantiate(parser.parse_args(arguments))

    from crosscue.opening import encoder_of
    from crosscue.search.collection import open_collection
    from crosscue.search.indexing import writing
    from crosscue.search.tuning import tune

    place = open_collection(given.collection).folder
    with writing(place) as collection:
        chosen = [collection.space(given.name)]
        if given.name is None:
            chosen = [space for space in collection.spaces.values() if space.index is not None] or chosen
        for space in chosen:
            encoder = encoder_of(space.identity, precision=given.precision, device=given.device)
            kept, trials = tune(collection, space, encoder)
            sys.stdout.write(f"{space.name}: recall@10 and CPU-ms a query on texts, and on images\n")
            for trial in trials:
                found, index = trial.measured, trial.index
                mark = "kept" if index == kept.index else ""
                sys.stdout.write(
                    f"  probes {index.nprobes:>4}  candidates {index.candidates:>4}  texts {found.texts:.3f} {found.texts_cpu_ms:6.1f}"
                    f"  images {found.images:.3f} {found.images_cpu_ms:6.1f}  {mark}\n"
                )
    return 0
