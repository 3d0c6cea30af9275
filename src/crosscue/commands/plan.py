"""crosscue plan adapt|evaluate|index|search: time, memory and disk of a command, from a few seconds of its work."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from crosscue.errors import OptionError

if TYPE_CHECKING:
    from crosscue.planning.estimate import Estimate


def adapt(arguments: list[str]) -> int:
    """Prints the estimate of a training.

    Raises:
        OptionError: the method is `auto`, whose time is its budget; or the training would be refused.
    """
    from crosscue.commands.adapt import parsed, require_processes
    from crosscue.commands.options import BackboneOptions, read_source
    from crosscue.commands.parser import taken
    from crosscue.data.sources import Reading
    from crosscue.selection.defaults import AUTO

    given, method = parsed(arguments, "plan adapt")
    if method == AUTO:
        raise OptionError(
            "auto takes the time of --budget, 10m by default, and chooses what fits into it. To plan one method, name it: "
            f"crosscue plan adapt --data {given.data} --method dual_prompt"
        )
    require_processes(given, method)
    from crosscue.backbones.loading import load_backbone
    from crosscue.planning.adapting import adapting

    pairs = read_source(given.data, taken(given, Reading))
    tower = vars(taken(given, BackboneOptions))
    backbone = load_backbone(tower.pop("backbone"), **tower)
    chosen = {name: given[name] for name in ("shots", "validation", "folds", "processes")}
    return told(adapting(pairs, method, given.get("options"), backbone, given.training, **chosen))


def evaluate(arguments: list[str]) -> int:
    """Prints the estimate of an evaluation."""
    from crosscue.commands.evaluate import parsed
    from crosscue.commands.options import read_source
    from crosscue.commands.parser import taken
    from crosscue.data.sources import Reading
    from crosscue.retrieval.options import Inference

    given = parsed(arguments, "plan evaluate")
    from crosscue.api import as_run
    from crosscue.data.splits import held_out
    from crosscue.planning.evaluating import evaluating

    pairs = held_out(read_source(given.data, taken(given, Reading)), given.split)
    run = as_run(given.run, given.backbone, image_size=given.image_size, precision=given.precision, device=given.device)
    inference = taken(given, Inference).of(run.method)
    return told(evaluating(run.method, pairs, inference, trained=run.folder is not None))


def index(arguments: list[str]) -> int:
    """Prints the estimate of an indexing run, for each space."""
    from crosscue.commands.index import indexing_of, parsed
    from crosscue.commands.index_folders import surveyed
    from crosscue.commands.index_spaces import opening_of
    from crosscue.opening import encoder_of, open_encoder
    from crosscue.planning.indexing import indexing

    given, place, folders = parsed(arguments, "plan index")
    options = indexing_of(given)
    collection, walks, captions, names = surveyed(given, place, folders)
    opening = opening_of(given)
    for name in names:
        if given.run is None and name is None:
            raise OptionError(
                "name the run that encodes: crosscue plan index FOLDER --run RUN (zero_shot needs no training)"
            )
        run = given.run
        encoder = open_encoder(run, **opening) if run else encoder_of(collection.space(name).identity, **opening)
        told(
            indexing(
                *(collection, name, walks, captions, encoder),
                batch_size=options.batch_size,
                threads=options.threads,
                workers=given.workers or 1,
                elsewhere=given.engine == "ray",
                captioned=given.captions or (name is not None and collection.has_table(f"{name}.captions")),
                overlaps=encoder.identity.runtime == "torch" and on_gpu(given.device),
            )
        )
    return 0


def search(arguments: list[str]) -> int:
    """Prints the estimate of a search."""
    began = time.perf_counter()
    from crosscue.commands.search import collection_of, parsed
    from crosscue.planning.searching import searching

    given, query = parsed(arguments, "plan search")
    opened = collection_of(given)
    return told(searching(opened.collection, given.space, lambda: opened.searcher(given.space), len(query), began))


def on_gpu(device: str | None) -> bool:
    """Returns True if torch would compute on a GPU."""
    from crosscue.backbones.device import usable_device

    return usable_device(device).type != "cpu"


def told(estimate: Estimate) -> int:
    """Prints an estimate; returns 0."""
    sys.stdout.write(str(estimate))
    sys.stdout.flush()
    return 0
