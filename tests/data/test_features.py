"""Sources whose images are rows of a bank of features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import crosscue
from crosscue.data.audit import audit
from crosscue.data.features import FeatureRow
from crosscue.data.sources import Reading
from crosscue.data.writing import write_pairs
from crosscue.errors import DataError

VALUES = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def bank(folder: Path, name: str = "bank.npy", values: np.ndarray = VALUES, **record: object) -> Path:
    """Writes a bank, and beside it its JSON if it has any."""
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        save_file({"image_features": torch.from_numpy(values)}, path)
    if record:
        Path(f"{path}.json").write_text(json.dumps(record))
    return path


def table(folder: Path, *images: object, name: str = "pairs.jsonl") -> Path:
    """Writes a listing with one caption an image."""
    path = folder / name
    rows = [{"image": image, "caption": f"a thing {number}"} for number, image in enumerate(images)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def rows(pairs: crosscue.Pairs) -> list[int]:
    assert all(isinstance(pair.image, FeatureRow) for pair in pairs)
    return [pair.image.row for pair in pairs if isinstance(pair.image, FeatureRow)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_row_is_read_as_float32_whatever_the_file_holds(tmp_path: Path, dtype: str) -> None:
    values = torch.from_numpy(VALUES).to(getattr(torch, dtype))
    save_file({"rows": values}, tmp_path / "bank.safetensors")
    pairs = crosscue.read_pairs(table(tmp_path, "bank.safetensors#2", "bank.safetensors#0"))
    assert rows(pairs) == [2, 0]
    assert torch.equal(pairs[0].image.values(), values[2].float())


def test_a_column_names_rows_by_index_or_by_name(tmp_path: Path) -> None:
    bank(tmp_path, names=["cat", "dog", "0", "cow"])
    assert rows(crosscue.read_pairs(table(tmp_path, "bank.npy#dog", "bank.npy#0", "bank.npy#3"))) == [1, 0, 3]


def test_a_name_that_is_a_number_is_no_index(tmp_path: Path) -> None:
    features = bank(tmp_path, names=["3", "2", "1", "cow"])
    reading = Reading(features=features)
    assert rows(crosscue.read_pairs(table(tmp_path, 1, 3), reading=reading)) == [2, 0]
    with pytest.raises(DataError, match=r"line 2: there is no row '0' in .*none of its rows has this name"):
        crosscue.read_pairs(table(tmp_path, 1, 0), reading=reading)


def test_rows_are_found_by_name_then_index_then_order(tmp_path: Path) -> None:
    by_name = Reading(features=bank(tmp_path, "named.npy", names=["d.jpg", "c.jpg", "b.jpg", "a.jpg"]))
    assert rows(crosscue.read_pairs(table(tmp_path, "a.jpg", "c.jpg"), reading=by_name)) == [3, 1]
    plain = Reading(features=bank(tmp_path, "plain.safetensors"))
    assert rows(crosscue.read_pairs(table(tmp_path, 2, "1"), reading=plain)) == [2, 1]
    assert rows(crosscue.read_pairs(table(tmp_path, "d", "c", "b", "a"), reading=plain)) == [0, 1, 2, 3]


def test_several_captions_of_an_image_share_its_row(tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    source.write_text("image,caption\na,one\na,two\nb,three\nc,four\nd,five\n")
    pairs = crosscue.read_pairs(source, reading=Reading(features=bank(tmp_path)))
    assert rows(pairs) == [0, 1, 2, 3]
    assert pairs[0].captions == ("one", "two")


def test_written_pairs_name_the_same_rows(tmp_path: Path) -> None:
    bank(tmp_path, names=["a", "b", "c", "d"])
    pairs = crosscue.read_pairs(table(tmp_path, "bank.npy#c", "bank.npy#a"))
    (tmp_path / "elsewhere").mkdir()
    write_pairs(tmp_path / "elsewhere" / "copy.jsonl", pairs)
    copied = crosscue.read_pairs(tmp_path / "elsewhere" / "copy.jsonl")
    assert rows(copied) == [2, 0]
    assert copied.fingerprint() == pairs.fingerprint()


def test_other_features_are_other_data(tmp_path: Path) -> None:
    source, before = table(tmp_path, "bank.npy#0", "bank.npy#1"), bank(tmp_path)
    first = crosscue.read_pairs(source).fingerprint()
    bank(before.parent, values=VALUES + 1)
    assert crosscue.read_pairs(source).fingerprint() != first


def test_the_check_lists_every_unusable_row_and_equal_rows(tmp_path: Path) -> None:
    values = np.concatenate([VALUES, VALUES[:1]])
    values[1, 2], values[2] = np.nan, 0
    path = bank(tmp_path, values=values, tower="abc")
    found = audit(crosscue.read_pairs(table(tmp_path, *(f"bank.npy#{row}" for row in range(5)))))
    assert found.blocking
    assert [name for name, _ in found.unreadable] == [f"{path} row 1", f"{path} row 2"]
    assert found.same_images == [[f"{path} row 0", f"{path} row 4"]]
    assert found.features == [f"{path}: tower abc"]


def test_an_index_out_of_range_names_file_and_row(tmp_path: Path) -> None:
    path = bank(tmp_path)
    source = table(tmp_path, "bank.npy#1", "bank.npy#4")
    message = f"{source} line 2: there is no row 4 in {path}, whose rows are 0 to 3. Correct the index."
    with pytest.raises(DataError, match="line 2: there is no row") as raised:
        crosscue.read_pairs(source)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("images", "record", "message"),
    [
        (["a", "b", "c"], {}, "4 rows without names, and .* has 3 images"),
        (["a", "b", "c", "d", "e"], {}, "4 rows without names, and .* has 5 images"),
        (
            ["a", "z"],
            {"names": ["a", "b", "c", "d"]},
            r"line 2: there is no row 'z' in .*none of its rows has this name",
        ),
        (["a"], {"names": ["a", "b", "b", "d"]}, "4 names, 3 of them different, for 4 rows"),
        (["a"], {"names": ["a"]}, "1 names, 1 of them different, for 4 rows"),
        ([9], {}, "line 1: there is no row 9 in .*, whose rows are 0 to 3"),
    ],
)
def test_rows_that_do_not_fit_the_images_are_refused(
    tmp_path: Path, images: list[object], record: dict[str, object], message: str
) -> None:
    features = bank(tmp_path, **record)
    with pytest.raises(DataError, match=message):
        crosscue.read_pairs(table(tmp_path, *images), reading=Reading(features=features))


def test_a_file_without_one_matrix_of_floats_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 2), "b": torch.zeros(2, 2)}, tmp_path / "two.safetensors")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    (tmp_path / "broken.safetensors").write_text("no")
    for name, message in (
        ("two.safetensors", r"two.safetensors: 2 matrices of floats, and one is needed \(found: a \(2, 2\)"),
        ("flat.npy", "flat.npy: 0 matrices of floats"),
        ("broken.safetensors", "broken.safetensors: not a .safetensors file of numbers"),
        ("absent.npy", "absent.npy: cannot be read"),
        ("pairs.csv", "pairs.csv: features are read from .safetensors or .npy files"),
    ):
        with pytest.raises(DataError, match=message):
            crosscue.read_pairs(table(tmp_path, 0, 1), reading=Reading(features=tmp_path / name))
