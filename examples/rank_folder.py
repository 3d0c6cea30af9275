"""Encode a folder of images and rank them for a query.

python examples/rank_folder.py runs/mine my_images/ "a red bicycle against a wall"
"""

import argparse
from pathlib import Path

import crosscue

parser = argparse.ArgumentParser()
parser.add_argument("run", help="a run folder")
parser.add_argument("folder", type=Path, help="a folder of images")
parser.add_argument("query")
parser.add_argument("--top", type=int, default=5)
given = parser.parse_args()

run = crosscue.load(given.run)
paths = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
images = run.encode_image(paths)  # (N, D), unit vectors
query = run.encode_text([given.query])  # (1, D)
scores = (images @ query.T).squeeze(1)  # (N,)
for index in scores.argsort(descending=True)[: given.top].tolist():
    print(f"{scores[index]:.3f}  {paths[index]}")
