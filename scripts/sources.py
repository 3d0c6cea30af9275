"""Write the sources that the grids of docs/results.md read, from the development data.

    python scripts/sources.py --shared ../shared/data --out runs

Each source is one JSON Lines file whose images are named by their whole path.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from safetensors.torch import load_file

from crosscue.backbones.embedding import embed_texts
from crosscue.backbones.loading import load_backbone
from crosscue.data.harder_categories import nearest_names
from crosscue.data.negatives import NegativesConfig, NegativeWriter, with_negatives
from crosscue.data.pairs import Pairs
from crosscue.data.sources import read_pairs
from crosscue.data.writing import write_pairs
from crosscue.demo.emoji import emoji_pairs
from crosscue.methods.registry import build
from crosscue.storage import read_json, write_lines


def write_source(target: Path, folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows whose images lie in `folder`; an image without an `image_id` is identified by its name."""
    whole = ({"image_id": row["image"]} | row | {"image": str((folder / row["image"]).resolve())} for row in rows)
    write_lines(target, whole)


def quarter(rows: list[dict[str, Any]], first: int = 0) -> Iterable[dict[str, Any]]:
    """Returns the rows of every fourth category, from category `first` on."""
    chosen = sorted({row["category"] for row in rows})[first::4]
    return (row for row in rows if row["category"] in chosen)


def with_pixels(rows: list[dict[str, Any]], *learn: str) -> Iterable[dict[str, Any]]:
    """Return the rows whose images are there: the test split, and the splits `learn` as one."""
    there = (row for row in rows if row["pixels"] and row["split"] in (*learn, "test"))
    return (row | {"split": "test" if row["split"] == "test" else "train"} for row in there)


def first_captions(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Returns the rows with the first caption of each test image alone."""
    return (row | {"captions": row["captions"][:1]} if row["split"] == "test" else row for row in rows)


def cars(rows: list[dict[str, Any]], bank: Path) -> Iterable[dict[str, Any]]:
    """Return the cars by their features; a third of each category, by the hash of its image, is the test split.

    A row whose caption or features stood in an earlier row goes to the split of that row.
    """
    features = load_file(bank)["image_features"].numpy()
    place, seen = Counter[str](), dict[str | bytes, str]()
    for index in sorted(range(len(rows)), key=lambda index: sha256(rows[index]["image"].encode()).digest()):
        row = rows[index]
        place[row["category"]] += 1
        split = "test" if place[row["category"]] % 3 == 0 else "train"
        marks = (*row["captions"], features[index].tobytes())
        split = next((seen[mark] for mark in marks if mark in seen), split)
        seen |= dict.fromkeys(marks, split)
        yield row | {"image": f"{bank.name}#{index}", "image_id": row["image"], "split": split}


def sugarcrepe(coco: Path, folder: Path) -> Iterable[dict[str, Any]]:
    """Returns SugarCrepe's pairs, one edited caption each; the category is the kind of the edit.

    Each pair has a copy of its image in `folder`. Rows of one image would be one pair, and each of its captions would be
    compared with all edited ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {Path(row["image"]).name: coco / row["image"] for row in read_json(coco / "captions.json")}
    for kind, pairs in read_json(coco / "sugarcrepe_subset.json").items():
        for index, pair in enumerate(pairs):
            copy = folder / f"{kind}-{index}.jpg"
            shutil.copyfile(places[pair["filename"]], copy)
            negative = {"text": pair["negative_caption"], "type": "attribute"}
            yield {"image": str(copy.resolve()), "caption": pair["caption"], "negatives": [negative], "category": kind}


def edited(pairs: Pairs, exchanges: Mapping[str, Sequence[str]] | None, each: int) -> Pairs:
    """Returns the pairs with `each` negatives of either type; `exchanges` as `NegativeWriter` has them."""
    writer = NegativeWriter(pairs, NegativesConfig(category=each, attribute=each), exchanges=exchanges)
    return with_negatives(pairs, writer)[0]


def write_edits(source: Path) -> None:
    """Write a source three times with negatives.

    SOURCE-uniform and SOURCE-nearest have one negative of each type, with any other category or one of the five nearest names.
    SOURCE-edits is the test split with two of each type and the nearest names. Its pairs have no category, so that minimal
    pairs are counted by type alone.
    """
    pairs = read_pairs(str(source))
    tower = build("zero_shot", load_backbone("starter", device="cpu"))
    names = list(pairs.categories)
    nearest = nearest_names(names, embed_texts([name.replace("_", " ") for name in names], tower.encode_text))
    for name, exchanges in (("uniform", None), ("nearest", nearest)):
        write_pairs(source.with_stem(f"{source.stem}-{name}"), edited(pairs, exchanges, 1))
    test = (replace(pair, category=None) for pair in edited(pairs, nearest, 2) if pair.split == "test")
    write_pairs(source.with_stem(f"{source.stem}-edits"), test)


def write_sources(shared: Path, out: Path) -> None:
    """Write all sources.

    Args:
        shared: folder of the development data.
        out: folder of the sources.
    """
    caltech, flickr, coco = (shared / name for name in ("fdrd_caltech101", "flickr8k", "coco_mini"))
    captions = read_json(flickr / "captions.json")
    objects = read_json(caltech / "captions.json")
    write_source(out / "caltech101-25.jsonl", caltech, quarter(objects))
    write_source(out / "caltech101-next-25.jsonl", caltech, quarter(objects, first=1))
    write_source(out / "caltech101-third-25.jsonl", caltech, quarter(objects, first=2))
    write_edits(out / "caltech101-25.jsonl")
    write_source(out / "flickr8k-1600.jsonl", flickr, with_pixels(captions, "train", "val"))
    write_source(out / "flickr8k-val.jsonl", flickr, with_pixels(captions, "val"))
    write_source(out / "flickr8k-first.jsonl", flickr, first_captions(with_pixels(captions, "val")))
    folder = shared / "cars_features"
    rows = cars(read_json(folder / "captions.json"), folder / "clip_b16_features.safetensors")
    write_source(out / "cars.jsonl", folder, rows)
    write_source(out / "sugarcrepe.jsonl", coco, sugarcrepe(coco, out / "sugarcrepe"))
    write_pairs(out / "emoji.jsonl", emoji_pairs())


if __name__ == "__main__":
    auto_cli(write_sources, as_positional=False)
