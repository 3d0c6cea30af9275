"""Adapt to the marks of a collection, index it with the new model, and measure the gain on texts that were held out.

    python examples/marks_to_model.py my_images/ runs/marked

Without --method it compares methods for ten minutes and takes the best.
"""

import argparse
from pathlib import Path

import crosscue
from crosscue.data.pairs import Pairs
from crosscue.search.labels import labels_of, pairs_of_labels

parser = argparse.ArgumentParser()
parser.add_argument("collection", help="a collection, or the folder of images that holds it")
parser.add_argument("out", type=Path, help="the run folder to write")
parser.add_argument("--method")
given = parser.parse_args()

collection = crosscue.open(given.collection)
before = next(iter(collection.collection.spaces.values()))
pairs = Pairs(pairs_of_labels(collection.collection, labels_of(collection.collection))[0], "marks")
few = given.method is not None and "val" not in pairs.splits  # too few to choose an epoch by
run = crosscue.adapt(
    pairs,
    given.method,
    before.identity.backbone,
    out=given.out,
    image_size=before.identity.image_size,
    validation=False if few else None,
)
collection.add(run=run, name=given.out.name)
print(collection.gain(before.name, given.out.name).verdict)
