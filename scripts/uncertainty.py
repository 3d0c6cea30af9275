"""Print the AUROC of wrong first candidates for each measure of uncertainty, of the untouched starter.

    python scripts/uncertainty.py --data flickr8k=SOURCE caltech101=SOURCE --out docs/results/uncertainty.json

Vacuity is the one of ACKE: it depends on the scores of a query alone, so it is there for every method.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import auto_cli

from crosscue.api import as_run
from crosscue.backbones.loading import load_backbone
from crosscue.data.sources import read_pairs
from crosscue.data.splits import held_out
from crosscue.evaluation.calibration import calibrate, calibration, uncertainties
from crosscue.evaluation.recall import hits
from crosscue.markdown import markdown_table
from crosscue.methods.capabilities import KnowsUncertainty
from crosscue.methods.registry import build
from crosscue.storage import write_json

MEASURES = ("largest_probability", "margin", "vacuity")


def main(data: list[str], out: Path, image_size: int = 160) -> None:
    """Print the table, and keep its numbers.

    Args:
        data: NAME=SOURCE of pairs; the test splits are used.
        out: file to write.
        image_size: in pixels.
    """
    backbone = load_backbone("starter", image_size=image_size)
    run, acke = as_run("zero_shot", backbone), build("acke", backbone)
    assert isinstance(acke, KnowsUncertainty)
    rows: dict[str, dict[str, float | None]] = {}
    for name, _, source in (entry.partition("=") for entry in data):
        result = run.evaluate(held_out(read_pairs(source)))
        assert result.scores is not None
        for direction, found in calibration(run.method, result).items():
            vacuity = uncertainties(acke, result.scores, direction)
            found["vacuity"] = calibrate(vacuity, 1 - hits(result.ranks[direction], 1))
            rows[f"{name}, {direction}"] = {measure: found[measure].auroc for measure in MEASURES}
    write_json(out, rows)
    shown = [[name, *(f"{value:.2f}" for value in found.values())] for name, found in rows.items()]
    print(markdown_table(["", *(measure.replace("_", " ") for measure in MEASURES)], shown))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
