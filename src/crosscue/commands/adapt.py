"""crosscue adapt: from a few pairs to a run folder."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.commands.options import AdaptOptions, BackboneOptions, SourceOptions, read_source
from crosscue.commands.parser import chosen, named, options_parser, taken
from crosscue.data.sources import Reading
from crosscue.errors import DataError, OptionError
from crosscue.progress import note

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs
    from crosscue.run import Run
    from crosscue.training.loop import Outcome

FEW = 50
"""Number of validation images below which they choose little."""
BEGINNING = {
    "--data SOURCE": "Your images and captions: a folder, a CSV, JSON, JSONL or parquet file, or a dataset on the Hub.",
    "--method NAME": "The way to adapt. The default `auto` tries several and keeps the best. `crosscue methods` lists them.",
    "--budget TIME": "The time that `auto` may take, such as 90s, 10m or 2h. The default is 10m.",
    "--out FOLDER": "The run folder to write. The default is a new folder in runs/.",
    "--backbone MODEL": "The model to adapt: `starter`, which is the default, a model on the Hub, or a folder.",
    "--image_size N": "The side of the images in pixels. A smaller size is faster and less exact.",
    "--validation SHARE": "The share of the pairs that chooses the best epoch, such as 0.1. The default is the split `val`.",
    "--shots N": "Train on N pairs of each category only. The default is all pairs.",
    "--device NAME": "The place to compute: cpu or cuda. The default is the GPU, where there is one.",
    "--resume": "Continue the interrupted run in the folder of --out.",
}
"""Options for beginners, in plain words."""


def parsed(arguments: list[str], verb: str = "adapt") -> tuple[Any, str]:
    """Returns the options of a training, and its method.

    Raises:
        CrosscueError: an option is wrong, or there is no source of pairs.
    """
    from crosscue.methods.registry import method_class
    from crosscue.selection.defaults import AUTO, FREE, named_method

    single = set(named(arguments, "training", "options")) - {f"training.{name}" for name in FREE}
    searched = bool(chosen(arguments, "budget", "")) or not single
    method = named_method(chosen(arguments, "method", "") or None, searched=searched)
    own = [] if method == AUTO else [(method_class(method).config_class, "options")]
    parser = options_parser(
        verb,
        "Adapts a backbone to pairs of images and captions, and writes a run folder.",
        (SourceOptions, None),
        (AdaptOptions, None),
        (BackboneOptions, None),
        *own,
    )
    parser.set_defaults(method=method)
    parser.beginning = BEGINNING
    given = parser.instantiate(parser.parse_args(arguments))
    if not given.data:
        raise DataError(f"there is no source of pairs. Name a folder or a file: crosscue {verb} --data SOURCE")
    return given, method


def run(arguments: list[str]) -> int:
    """Adapts and prints the run folder. Returns 130 when interrupted; the run can be resumed."""
    given, method = parsed(arguments)

    from crosscue.training.processes import Processes

    processes = Processes.found(given.timeout)
    if given.processes != 1 and processes.world == 1:
        return in_processes(given, method, arguments)
    note(f"training on {processes}")
    reading = taken(given, Reading)
    pairs = read_source(given.data, reading)

    from crosscue.api import adapt

    wanted = vars(taken(given, AdaptOptions))
    wanted["method"] = method
    by = wanted.pop("chosen_by")
    del wanted["processes"]
    run = adapt(
        pairs,
        options=given.get("options"),
        record={"data": given.data, **plain(asdict(reading)), **({"chosen_by": by} if by else {})},
        **wanted,
        **vars(taken(given, BackboneOptions)),
    )
    code = told(run, pairs, given.data, reading, method) if processes.main else 0
    sys.stdout.flush()
    return max(processes.everywhere(code, "the exit"))


def told(run: Run, pairs: Pairs, source: str, reading: Reading, method: str) -> int:
    """Prints the end of a run and the command that measures it; returns the exit code."""
    from crosscue.methods.lengths import cut_captions
    from crosscue.selection.defaults import AUTO, HOME
    from crosscue.training.provenance import Provenance

    outcome, folder = run.outcome, run.folder
    assert outcome is not None
    assert folder is not None
    if outcome.ended == "interrupted":
        home = folder / HOME if method == AUTO else folder
        sys.stdout.write(f"interrupted after {outcome.steps:,} steps and {outcome.seconds:,.0f} s: {folder}\n")
        words = ["crosscue", "adapt", "--config", f"{home}/config.yaml", "--out", str(folder), "--resume"]
        sys.stdout.write(f"continue: {shlex.join(words)}\n")
        return 130
    chosen_inference: list[str] = []
    if method == AUTO:
        report, chosen_inference = search_report(folder)
        sys.stdout.write(report)
    else:
        sys.stdout.write(f"{outcome.ended} after {outcome.steps:,} steps and {outcome.seconds:,.0f} s: {folder}\n")
        sys.stdout.write(ending(folder, outcome))
    learned = [text for pair in pairs if pair.split in (None, "train", "val") for text in pair.captions]
    if cut := cut_captions(run.method, learned):
        sys.stdout.write(f"training and validation: {cut}\n")
    learned_from = Provenance.load(folder)
    if learned_from.train and not learned_from.val and "test" not in pairs.splits:
        sys.stdout.write("no image was held out: evaluate other images, since a result on these is NOT COMPARABLE\n")
    split = [] if "test" in pairs.splits or not pairs.splits else ["--split", pairs.splits[-1]]
    words = ["crosscue", "evaluate", str(folder), "--data", source, *flags(reading), *split, *chosen_inference]
    sys.stdout.write(f"measure it: {shlex.join(words)}\n")
    return 0


def in_processes(given: Any, method: str, arguments: list[str]) -> int:
    """Starts the command in several processes of this machine and returns the exit code.

    Raises:
        OptionError: the number is no number of processes for this command.
    """
    from crosscue.training.launch import launch
    from crosscue.training.runs import new_folder

    require_processes(given, method)
    folder = given.out or new_folder(method)
    return launch(given.processes, ["adapt", *arguments, "--out", str(folder)], folder)


def require_processes(given: Any, method: str) -> None:
    """Raises `OptionError` where the number of processes is none for this training; notes one that waits for cores."""
    from crosscue.selection.defaults import AUTO
    from crosscue.training.processes import Processes

    if given.processes < 1:
        raise OptionError(f"processes is {given.processes}; it must be at least 1.")
    asked, cores = Processes(world=given.processes), os.cpu_count() or 1
    if method == AUTO:
        asked.refuse("method auto", ", or name a method")
    if given.folds:
        asked.refuse("--folds")
    asked.require_rows(given.training.batch_size)
    if given.processes > cores:
        note(f"{given.processes} processes share {cores} cores and wait for each other: --processes {cores} is faster")


def ending(folder: Path, outcome: Outcome) -> str:
    """Returns the numbers of images of a run, and its validation beside that of the untouched backbone."""
    from crosscue.storage import read_json
    from crosscue.training.card import against_untouched
    from crosscue.training.runs import ENVIRONMENT

    data = read_json(folder / ENVIRONMENT)["data"]
    val, images, folds = data["val"]["images"] if data["val"] else 0, data["train"]["images"], data.get("folds")
    text = f"trained on {images:,} images, " + (
        f"validated in {folds} folds of them" if folds else f"validated on {val:,}"
    )
    if beside := against_untouched(outcome):
        best = "the untrained method is best" if outcome.best_epoch == 0 else f"epoch {outcome.best_epoch} is best"
        text += f": {best} (Rsum {outcome.best_rsum:.2f}); {beside}"
    if 0 < val < FEW:
        again = (
            f"--config {shlex.quote(f'{folder}/config.yaml')} --validation null --out {shlex.quote(f'{folder}-folds')}"
        )
        text += (
            f"\n{val} validation images choose little: chance moves their Rsum. Give more, or validate in folds: "
            f"crosscue adapt {again} --folds 4"
        )
    return f"{text}\n"


def search_report(folder: Path) -> tuple[str, list[str]]:
    """Returns the table and the choice of a search, and the flags that its evaluation needs."""
    from crosscue.selection.verdict import FILE, table
    from crosscue.storage import read_json

    record = read_json(folder / FILE)
    text = f"{table(record)}\n\n{record['conclusion']}\n{record['seconds']:,.0f} s of {record['budget']}: {folder}\n"
    return text, [word for name, value in record["inference"].items() for word in (f"--{name}", value)]


def flags(options: Reading) -> list[str]:
    """Returns the flags of the options that differ from their defaults."""
    return [
        f"--{entry.name}={getattr(options, entry.name)}"
        for entry in fields(options)
        if getattr(options, entry.name) != entry.default
    ]


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values in types that YAML has."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
