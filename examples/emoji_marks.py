"""Make a collection of emoji and mark images in it, as a person would who looks at the first 60 results of each text.

    python examples/emoji_marks.py my_emoji --texts 150

The right image of a text is marked, and the first result where it is wrong. Texts whose image is not found are left out.
"""

import argparse
import random
import shutil
from pathlib import Path

import crosscue
from crosscue.demo.emoji import emoji_pairs
from crosscue.search.labels import Label, add_labels

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=Path, help="the folder for the images and their collection")
parser.add_argument("--texts", type=int, default=150, help="number of texts to mark an image for")
parser.add_argument("--emoji", type=int, default=1500, help="number of emoji in the collection")
parser.add_argument("--image_size", type=int, default=160)
given = parser.parse_args()

given.folder.mkdir(parents=True, exist_ok=True)
text_of = {}
for pair in random.Random(1).sample(list(emoji_pairs()), given.emoji):
    name = f"{pair.image_id.replace('/', '-')}.png"
    shutil.copyfile(pair.image.path, given.folder / name)
    text_of[name] = pair.captions[0].removeprefix("An emoji of ").split(", ")[0]
collection = crosscue.open(given.folder / ".crosscue", run="zero_shot", name="before", image_size=given.image_size)
collection.add(given.folder)
marks = []
for name, text in random.Random(1).sample(sorted(text_of.items()), len(text_of)):
    found = {Path(hit.path).name: hit.id for hit in collection.search(text, 60, text="off", all=True, group=False)}
    if name in found:
        marks.append([Label(text, one, one == found[name]) for one in {found[name], next(iter(found.values()))}])
    if len(marks) == given.texts:
        break
add_labels(collection.collection, [label for part in marks for label in part])
print(f"{len(marks)} texts are marked in {collection.collection.folder}")
