"""The JSON files of retrieval papers: Karpathy's splits, and COCO's caption annotations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosscue.data.pairs import Pairs
from crosscue.data.readers.contract import Reader, Reading, json_content, json_sniffer
from crosscue.data.records import Row, pairs_of
from crosscue.errors import DataError


def read_karpathy(path: Path, reading: Reading) -> Pairs:
    """Reads `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`; COCO's `restval` counts as train.

    Raises:
        DataError: an image record without filename, `sentences` or split.
    """
    content = json_content(path)
    if not is_karpathy(content):
        raise DataError(f"{path}: not in Karpathy's format (an object with 'images'). Leave --kind karpathy out.")

    def rows() -> Iterator[Row]:
        for number, record in enumerate(content["images"], 1):
            where = f"{path} image {number}"
            try:
                name = str(Path(record.get("filepath", "")) / record["filename"])
                split = "train" if record["split"] == "restval" else record["split"]
                yield where, {"image": name, "captions": [s["raw"] for s in record["sentences"]], "split": split}
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{where}: {error} is missing. This is not a file in Karpathy's format; leave --kind karpathy out."
                ) from error

    return pairs_of(rows(), path, reading)


def read_coco(path: Path, reading: Reading) -> Pairs:
    """Reads `captions_val2017.json` and its like; the file's name gives the split.

    Raises:
        DataError: an annotation of an image that is not in the file's image list.
    """
    content = json_content(path)
    if not is_coco(content):
        raise DataError(
            f"{path}: no COCO annotations (an object with 'images' and 'annotations'). Leave --kind coco out."
        )
    files = {image["id"]: image["file_name"] for image in content["images"]}
    captions: dict[int, list[str]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"], 1):
        if annotation.get("image_id") not in files:
            raise DataError(
                f"{path} annotation {number}: image {annotation.get('image_id')} is not in the file's image list. "
                "Correct the annotation, or remove it."
            )
        captions[annotation["image_id"]].append(str(annotation.get("caption", "")).strip())
    split = next((name for name in ("train", "val", "test") if name in path.stem.lower()), None)

    def rows() -> Iterator[Row]:
        for image_id, texts in captions.items():
            values = {"image": files[image_id], "captions": texts, "image_id": str(image_id), "split": split}
            yield f"{path} image {image_id}", values

    return pairs_of(rows(), path, reading)


def is_karpathy(content: Any) -> bool:
    """Returns True for the content of a file in Karpathy's format."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" not in content


def is_coco(content: Any) -> bool:
    """Returns True for the content of a file of COCO caption annotations."""
    return isinstance(content, dict) and "images" in content and "annotations" in content


KARPATHY = Reader("karpathy", json_sniffer(is_karpathy), read_karpathy)
COCO = Reader("coco", json_sniffer(is_coco), read_coco)
