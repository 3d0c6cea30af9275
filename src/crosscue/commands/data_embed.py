"""crosscue data embed SOURCE --out FOLDER: write the features of a source's images."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from crosscue.commands.options import BackboneOptions, read_source
from crosscue.commands.parser import options_parser, taken
from crosscue.data.sources import Reading
from crosscue.errors import DataError


@dataclass(frozen=True)
class EmbedOptions:
    """Options of the features."""

    out: Path | None = None
    """New folder of the features, which is a source of pairs itself."""


def run(arguments: list[str]) -> int:
    """Encodes every image and prints the folder. The same command continues after an interruption."""
    parser = options_parser(
        "data embed",
        "Encode the images of a source once, as a source that every method behind frozen towers reads.",
        (EmbedOptions, None),
        (Reading, None),
        (BackboneOptions, None),
    )
    parser.add_argument("data", help="Source of pairs with images.")
    given = parser.instantiate(parser.parse_args(arguments))
    if given.out is None:
        raise DataError(f"there is no folder to write. Name one: crosscue data embed {given.data} --out FOLDER")

    from crosscue.backbones.frozen import write_bank
    from crosscue.backbones.loading import load_backbone

    pairs = read_source(given.data, taken(given, Reading))
    backbone = load_backbone(
        given.backbone, image_size=given.image_size, precision=given.precision, device=given.device
    )
    write_bank(pairs, backbone, given.out)
    folder = shlex.quote(str(given.out))
    sys.stdout.write(f"{len(pairs):,} images: crosscue adapt --method linear_probe --data {folder}\n")
    return 0
