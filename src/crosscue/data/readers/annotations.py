"""The JSON files retrieval papers are measured on: Karpathy's splits, and COCO's caption annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosscue.data.pairs import Pairs
from crosscue.data.records import Missing, Row, pairs_of
from crosscue.errors import DataError


def read_karpathy(path: Path, content: dict[str, Any], images: Path, missing: Missing) -> Pairs:
    """Reads `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`; COCO's `restval` counts as train.

    Raises:
        DataError: an image record without filename, sentences or split.
    """

    def rows() -> Iterator[Row]:
        for number, record in enumerate(content["images"], 1):
            where = f"{path} image {number}"
            try:
                name = str(Path(record.get("filepath", "")) / record["filename"])
                split = "train" if record["split"] == "restval" else record["split"]
                yield where, {"image": name, "captions": [s["raw"] for s in record["sentences"]], "split": split}
            except (KeyError, TypeError) as error:
                raise DataError(f"{where}: {error} is missing. This is not a file in Karpathy's format.") from error

    return pairs_of(rows(), images, str(path), missing=missing)


def read_coco(path: Path, content: dict[str, Any], images: Path, missing: Missing) -> Pairs:
    """Reads `captions_val2017.json` and its like; the split is what the file's name says.

    Raises:
        DataError: an annotation of an image the file does not list.
    """
    files = {image["id"]: image["file_name"] for image in content["images"]}
    captions: dict[int, list[str]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"], 1):
        if annotation.get("image_id") not in files:
            raise DataError(
                f"{path} annotation {number}: image {annotation.get('image_id')} is not in the file's image list."
            )
        captions[annotation["image_id"]].append(str(annotation.get("caption", "")).strip())
    split = next((name for name in ("train", "val", "test") if name in path.stem.lower()), None)

    def rows() -> Iterator[Row]:
        for image_id, sentences in captions.items():
            values = {"image": files[image_id], "captions": sentences, "image_id": str(image_id), "split": split}
            yield f"{path} image {image_id}", values

    return pairs_of(rows(), images, str(path), missing=missing)
