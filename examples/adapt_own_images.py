"""Adapt a backbone to your own images and captions.

    python examples/adapt_own_images.py my_images/ runs/mine --epochs 5

SOURCE is a folder (`dog.jpg` beside `dog.txt`, one caption a line) or a CSV, JSONL or parquet file.
"""

import argparse
from pathlib import Path

import crosscue

parser = argparse.ArgumentParser()
parser.add_argument("source", help="pairs of images and captions")
parser.add_argument("out", type=Path, help="the run folder to write")
parser.add_argument("--backbone", default="starter")
parser.add_argument("--epochs", type=int, default=5)
given = parser.parse_args()

run = crosscue.adapt(
    given.source, "dual_prompt", given.backbone, out=given.out, training=crosscue.TrainingConfig(epochs=given.epochs)
)
print(f"{run.outcome.steps} steps in {run.outcome.seconds:.0f} s: {run.folder}")
