"""The whole report of cached features, before and after: CPU time, and peak memory above the features.

    python benchmarks/evaluation.py --images 5000 --width 512

Random unit vectors and short texts, five captions an image: that is enough for the cost, and the numbers mean nothing. The
page has no images, because features have none. Reading the captions by spaCy, which is as optional as it is slow, is
measured beside the report.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from harness import cpu_seconds, peak_megabytes
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.data.features import FeatureBank, FeatureRow
from crosscue.data.pairs import Pair, Pairs
from crosscue.evaluation.calibration import calibration, divisors
from crosscue.evaluation.comparison import compare
from crosscue.evaluation.folds import fold_recalls
from crosscue.evaluation.measuring import score
from crosscue.evaluation.report import Extras, write_report
from crosscue.evaluation.slices import knowledge_of, unread
from crosscue.evaluation.survey import Survey
from crosscue.methods.registry import build
from crosscue.testing.backbones import tiny_backbone

CAPTIONS, FOLDS = 5, 5


def vectors(count: int, width: int, seed: int) -> Tensor:
    """Return (count, width) random unit vectors."""
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def listing(folder: Path, images: int) -> Pairs:
    """Return pairs whose images are rows of features; a hundredth of the captions stands for two images."""
    file = folder / "features.safetensors"
    save_file({"image_features": torch.zeros(images, 1)}, file)
    bank = FeatureBank(file)
    total = images * CAPTIONS
    texts = [f"caption {min(number, total - total // 100)} of a thing" for number in range(total)]
    rows = [texts[start : start + CAPTIONS] for start in range(0, total, CAPTIONS)]
    return Pairs([Pair(FeatureRow(bank, i), tuple(own), str(i), f"c{i % 100}") for i, own in enumerate(rows)], "random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--width", type=int, default=512)
    given = parser.parse_args()
    method, total = build("zero_shot", tiny_backbone("clip")), given.images * CAPTIONS
    gallery, captions = vectors(given.images, given.width, 0), vectors(total, given.width, 1)
    captions += 0.1 * gallery.repeat_interleave(CAPTIONS, 0)
    captions = normalize(captions, dim=-1)
    with tempfile.TemporaryDirectory() as scratch:
        pairs = listing(Path(scratch), given.images)
        _ = gallery[:64] @ captions[:64].T, np.zeros(1)  # warm-up
        memory = peak_megabytes()
        parts = {}

        def timed(name, work):
            taken = cpu_seconds(work)
            parts[name] = taken.seconds
            print(
                f"{name:38} {taken.seconds:7.2f} CPU-s ({taken.wall:.2f} s wall), peak {peak_megabytes() - memory:6.0f} MB above the features"
            )
            return taken.result

        scores = {}
        for name, temperatures in (("before", None), ("after", divisors(method, "none"))):
            survey = timed(f"captions grouped by string, {name}", lambda t=temperatures: Survey(pairs, t))
            scores[name] = timed(
                f"the pass over the scores, {name}", lambda s=survey: score(method, pairs, gallery, captions, survey=s)
            )
        before, after = scores["before"], scores["after"]
        comparison = timed("intervals and tests", lambda: compare(before, after))
        folds = timed("folds", lambda: [fold_recalls(one, FOLDS) for one in (before, after)])
        known = timed("calibration", lambda: calibration(method, after))
        timed("group-aware recall", lambda: (before.group_aware, after.group_aware))
        if not unread():
            read = cpu_seconds(lambda: knowledge_of(tuple(pairs.captions)))
            print(f"{'captions read by spaCy, not counted':38} {read.seconds:7.2f} CPU-s ({read.wall:.2f} s wall)")
        extras = Extras(calibration=known, folds=folds)
        timed("page, JSON, Markdown", lambda: write_report(Path(scratch) / "report", comparison, pairs, extras))
    print(f"{'whole report':38} {sum(parts.values()):7.2f} CPU-s for {given.images:,} x {total:,}, before and after")


if __name__ == "__main__":
    main()
