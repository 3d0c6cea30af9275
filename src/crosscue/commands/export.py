"""crosscue export onnx RUN --out DIR: the encoders of a run as ONNX graphs, compared with torch."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crosscue.commands.options import SourceOptions
from crosscue.commands.parser import options_parser, taken
from crosscue.errors import DataError, RunError

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs


@dataclass(frozen=True)
class ExportOptions:
    """Options of `crosscue export onnx`."""

    out: Path = Path("export")
    """Export folder; an export that is there already is replaced."""
    precision: Literal["fp32", "w8", "both"] = "both"
    """Weights of the graphs. `fp32`: those of the run. `w8`: rounded to 8 bits, a third of the size and faster on a CPU.
    `both`: two files for each tower."""
    opset: int = 18
    """Version of the ONNX operators; raise it only where a runtime requires it."""
    backbone: str | None = None
    """Backbone of the run, if it is in another place now; for a method default `starter`."""
    image_size: int | None = None
    """Side of the input image in pixels, for a method without a run folder."""


def run(arguments: list[str]) -> int:
    """Exports, prints the agreement with torch, and the commands that use the export."""
    parser = options_parser(
        "export onnx",
        "Exports the encoders of a run as ONNX graphs. They are compared with torch on validation pairs, or those of --data.",
        (ExportOptions, None),
        (SourceOptions, None),
    )
    parser.add_argument("run", help="Run folder, or a method without training such as zero_shot.")
    given = parser.instantiate(parser.parse_args(arguments))

    from crosscue.api import as_run
    from crosscue.exporting.layout import export_folder

    options = taken(given, ExportOptions)
    loaded = as_run(given.run, options.backbone, image_size=options.image_size, precision="fp32", device="cpu")
    pairs = compared_pairs(loaded.folder, given)
    found = export_folder(
        loaded.method, loaded.folder, options.out, pairs, precision=options.precision, opset=options.opset
    )
    for name, parity in found.items():
        sys.stdout.write("".join(f"{line}\n" for line in parity.lines(name)))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    sys.stdout.write(
        f"{options.out}: {size / 1e6:,.0f} MB. Search with it: crosscue index FOLDER --run {options.out}\n"
    )
    return 0


def compared_pairs(folder: Path | None, given: Any) -> Pairs:
    """Returns the pairs of --data, or without it the validation pairs of a run.

    Raises:
        DataError: there are none.
    """
    from crosscue.configuration import configured
    from crosscue.data.sources import Reading, read_pairs
    from crosscue.data.splits import held_out, training_pairs
    from crosscue.training.runs import read_config

    if given.data:
        return held_out(read_pairs(given.data, reading=taken(given, Reading)))
    if folder is None:
        raise DataError(
            f"a method has no pairs to be compared on. Name some: crosscue export onnx {given.run} --data SOURCE"
        )
    config = read_config(folder)
    again = f"Name held-out pairs: crosscue export onnx {folder} --data SOURCE"
    try:
        names = {entry.name for entry in fields(Reading)} & config.keys()
        reading = configured(Reading, {name: config[name] for name in names}, "reading")
        source = read_pairs(config.get("data", ""), reading=reading)
        seed = config.get("training", {}).get("seed", 0)
        val = training_pairs(source, config.get("shots"), config.get("validation"), seed)[1]
    except (DataError, RunError) as error:
        raise DataError(f"{folder}: its pairs cannot be read again ({error}) {again}") from error
    if not val:
        raise DataError(f"{folder}: trained without validation pairs. {again}")
    return val
