"""Sources as datasets and tools distribute them, and files that are another thing than their names say."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from crosscue.data.audit import audit
from crosscue.data.images import open_image
from crosscue.data.pairs import EmbeddedImage, Pairs
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import DataError
from tests.images import draw_noise


def images(folder: Path, *names: str, seed: int = 0) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        draw_noise(folder / name, 10 * seed + number, 6, 6)
    return list(names)


def found(pairs: Pairs) -> dict[str, str | None]:
    return {pair.captions[0]: pair.split for pair in pairs}


def coco(file: Path, names: list[str], word: str, key: str = "caption") -> None:
    file.parent.mkdir(exist_ok=True)
    annotations = [{"image_id": number, key: f"{word} {number}"} for number in range(len(names))]
    records = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    file.write_text(json.dumps({"images": records, "annotations": annotations}))


def test_coco_as_it_is_downloaded(tmp_path: Path) -> None:
    """Both parts number their images alike, and the files have the same names."""
    for seed, split in enumerate(("train", "val")):
        names = images(tmp_path / f"{split}2017", "1.jpg", "2.jpg", seed=seed)
        coco(tmp_path / "annotations" / f"captions_{split}2017.json", names, split)
    pairs = read_pairs(tmp_path)
    assert found(pairs) == {"train 0": "train", "train 1": "train", "val 0": "val", "val 1": "val"}
    assert all(str(pair.split) in str(pair.image.path.parent.name) for pair in pairs)  # type: ignore[union-attr]
    assert len({pair.image_id for pair in pairs}) == 4
    one = read_pairs(tmp_path / "annotations" / "captions_val2017.json")
    assert found(one) == {"val 0": "val", "val 1": "val"}
    coco(tmp_path / "instances_val2017.json", ["1.jpg"], "box", key="bbox")
    with pytest.raises(DataError, match=r"no annotation has a caption. COCO's captions are in files such as"):
        read_pairs(tmp_path / "instances_val2017.json")


def test_a_folder_with_a_list_of_karpathy(tmp_path: Path) -> None:
    images(tmp_path / "val2014", "a.jpg", "b.jpg")
    record = {"filepath": "val2014", "sentences": [{"raw": "one"}]}
    content = [{**record, "filename": "a.jpg", "split": "restval"}, {**record, "filename": "b.jpg", "split": "test"}]
    content[1]["sentences"] = [{"raw": "two"}]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": content}))
    assert found(read_pairs(tmp_path)) == {"one": "train", "two": "test"}


def test_flickr8k_with_its_folders_in_folders(tmp_path: Path) -> None:
    names = images(tmp_path / "Flickr8k_Dataset" / "Flicker8k_Dataset", "1.jpg", "2.jpg")
    (tmp_path / "Flickr8k_text").mkdir()
    lines = "".join(f"{name}#0\ttext {number}\n" for number, name in enumerate(names))
    (tmp_path / "Flickr8k_text" / "Flickr8k.token.txt").write_text(lines)
    assert list(found(read_pairs(tmp_path))) == ["text 0", "text 1"]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_that_are_named_after_their_splits(tmp_path: Path, form: str) -> None:
    names = images(tmp_path / "images", "1.jpg", "2.jpg")
    for split, name in zip(("train", "validation"), names, strict=True):
        row = {"image": f"images/{name}", "caption": split}
        file = tmp_path / f"{split}.{form}"
        if form == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist([row]), file)
        elif form == "jsonl":
            file.write_text(json.dumps(row))
        else:
            mark = "," if form == "csv" else "\t"
            file.write_text(f"{mark.join(row)}\n{mark.join(row.values())}\n")
    assert found(read_pairs(tmp_path)) == {"train": "train", "validation": "val"}


def test_a_folder_of_parquet_as_programs_of_clusters_write_it(tmp_path: Path) -> None:
    encoded = draw_noise(tmp_path / "a.png", 1, 5, 5).read_bytes()
    folder = tmp_path / "pairs.parquet"
    folder.mkdir()
    for number in range(2):
        cell = {"bytes": encoded + bytes(number), "path": f"{number}.png"}
        parquet.write_table(
            pyarrow.table({"image": [cell], "text": [f"text {number}"]}), folder / f"part-{number}.parquet"
        )
    (folder / "_SUCCESS").write_text("")
    assert list(found(read_pairs(folder))) == ["text 0", "text 1"]
    (tmp_path / "a.txt").write_text("beside")  # the layout of img2dataset: parquet beside images
    (folder / "part-0.parquet").rename(tmp_path / "00000.parquet")
    assert found(read_pairs(tmp_path)) == {"beside": None}


@pytest.mark.parametrize(
    "content",
    [
        '{"image": "1.jpg", "caption": "one"}\n{"image": "2.jpg", "caption": "two"}\n',
        '{"1.jpg": ["one"], "2.jpg": "two"}',
        '{"image": {"0": "1.jpg", "1": "2.jpg"}, "caption": {"0": "one", "1": "two"}}',
    ],
    ids=["lines", "captions of images", "columns of pandas"],
)
def test_other_forms_under_the_name_of_json(tmp_path: Path, content: str) -> None:
    images(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "t.json").write_text(content)
    assert found(read_pairs(tmp_path / "t.json")) == {"one": None, "two": None}


def test_names_in_other_capitals(tmp_path: Path) -> None:
    images(tmp_path, "IMG_1.JPG", "b.jpg", "B.jpg")
    (tmp_path / "t.csv").write_text("image,caption\nimg_1.jpg,one\nb.jpg,two\n")
    assert [pair.image.name for pair in read_pairs(tmp_path / "t.csv")] == [
        str(tmp_path / name) for name in ("IMG_1.JPG", "b.jpg")
    ]
    if not (tmp_path / "b.JPG").exists():  # two files differ from it in capitals alone: none is taken
        (tmp_path / "t.csv").write_text("image,caption\nb.JPG,one\n")
        with pytest.raises(DataError, match="there is no image"):
            read_pairs(tmp_path / "t.csv")


@pytest.mark.parametrize(("name", "split"), [("test_set", "test"), ("val images", "val"), ("trainset", "train")])
def test_folders_of_splits_with_a_second_word(tmp_path: Path, name: str, split: str) -> None:
    for folder in (name, "training_set" if split != "train" else "dev_set"):
        images(tmp_path / folder, "1.jpg", seed=len(folder))
        (tmp_path / folder / "1.txt").write_text(folder)
    assert found(read_pairs(tmp_path))[name] == split


def test_files_of_forms_that_are_not_read_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path, "1.jpg", "2.jfif.jpg")
    (tmp_path / "2.jfif.jpg").rename(tmp_path / "2.jfif")
    for name in ("1", "2", "3"):
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "3.svg").write_text("<svg/>")
    assert list(found(read_pairs(tmp_path))) == ["1", "2"]
    assert "1 text files without an image beside them are ignored, such as 3.txt" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    images(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "1.txt").write_text("one")
    os.mkfifo(tmp_path / "2.txt")
    faults: dict[str, list[str]] = {}
    assert list(found(read_pairs(tmp_path, faults=faults))) == ["one"]
    assert "no caption file 2.txt" in faults["images without captions"][0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "this is a pointer of Git LFS"),
        (b"PK\x03\x04\x14\x00", "this is a zip archive or a spreadsheet"),
        (b"\x1f\x8b\x08\x00", "this is compressed"),
        (b"<!DOCTYPE html>\n<html>", "this is a web page"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    for name in ("t.csv", "t.jsonl", "t.json", "t.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: {reason}"):
            read_pairs(tmp_path / name)
    (tmp_path / "1.jpg").write_bytes(content)
    (tmp_path / "1.txt").write_text("one")
    assert reason in audit(read_pairs(tmp_path, reading=Reading(kind="folder"))).unreadable[0][1]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pairs.tar", "this is an archive. Unpack it"),
        ("pairs.csv.gz", "this is an archive"),
        ("pairs.xlsx", "Save the table as CSV"),
        ("one.png", "this is one image"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).write_bytes(b"0")
    with pytest.raises(DataError, match=reason):
        read_pairs(tmp_path / name)
    with pytest.raises(DataError, match="this is an address"):
        read_pairs(f"https://example.org/{name}")


def test_a_table_in_a_folder_of_images_is_named(tmp_path: Path) -> None:
    images(tmp_path, "1.jpg")
    (tmp_path / "my pairs.csv").write_text("image,caption\n1.jpg,one\n")
    with pytest.raises(DataError, match=r"Read the table: crosscue data check '.*my pairs.csv'"):
        read_pairs(tmp_path)


def test_a_table_without_names_of_columns_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1.jpg,one\n2.jpg,two\n")
    with pytest.raises(DataError, match="the first line contains an image, and must name the columns"):
        read_pairs(tmp_path / "t.csv", faults={})


def test_every_damaged_line_is_collected(tmp_path: Path) -> None:
    images(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "t.jsonl").write_text(
        '{"image": "1.jpg", "caption": "one"}\n{"image": \n[1]\n{"image": "3.jpg", "caption": "3"}'
    )
    (tmp_path / "t.csv").write_text('image,caption\n1.jpg,one\n2.jpg,"a 5" screen"\n3.jpg,3\n')
    for name, count in (("t.jsonl", 2), ("t.csv", 1)):
        faults: dict[str, list[str]] = {}
        assert list(found(read_pairs(tmp_path / name, faults=faults))) == ["one", "3"]
        assert len(faults["rows with faults"]) == count
        with pytest.raises(DataError, match=r"line [23]"):
            read_pairs(tmp_path / name)


@pytest.mark.parametrize("word", ["nan", "None", "NULL", " <NA>"])
def test_words_for_a_missing_caption(tmp_path: Path, word: str) -> None:
    images(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "t.csv").write_text(f"image,caption\n1.jpg,{word}\n2.jpg,none of them\n")
    faults: dict[str, list[str]] = {}
    assert list(found(read_pairs(tmp_path / "t.csv", faults=faults))) == ["none of them"]
    assert len(faults["empty captions"]) == 1


def test_a_field_of_a_megabyte(tmp_path: Path) -> None:
    images(tmp_path, "1.jpg")
    (tmp_path / "t.csv").write_text(f"image,caption,record\n1.jpg,one,{'x' * 1_000_000}\n")
    assert list(found(read_pairs(tmp_path / "t.csv"))) == ["one"]


def test_heic_is_read_or_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Phones write it under the name .jpg, too."""
    encoded = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"
    image = EmbeddedImage("IMG_1.jpg", lambda: encoded)
    monkeypatch.setattr("crosscue.data.images.heic", lambda: False)
    with pytest.raises(DataError, match=r"IMG_1.jpg: HEIC needs a package: pip install 'crosscue\[heic\]'"):
        open_image(image)
    monkeypatch.undo()
    pillow_heif = pytest.importorskip("pillow_heif")
    whole = pillow_heif.from_bytes("RGB", (16, 16), bytes(3 * 256))
    buffer = io.BytesIO()
    whole.save(buffer)
    assert open_image(EmbeddedImage("IMG_1.jpg", buffer.getvalue)).size == (16, 16)


def test_a_damaged_dataset_is_refused_before_its_memory_map_is_left(tmp_path: Path) -> None:
    """Reading beyond the map would end the process, not the command."""
    import datasets

    datasets.disable_progress_bars()
    images(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    names = [str(tmp_path / f"{number}.jpg") for number in (1, 2, 3)]
    datasets.Dataset.from_dict({"image": names, "caption": ["a", "bb", "ccc"]}).save_to_disk(tmp_path / "saved")
    assert list(found(read_pairs(tmp_path / "saved"))) == ["a", "bb", "ccc"]
    (file,) = (tmp_path / "saved").glob("*.arrow")
    whole, ends = file.read_bytes(), np.array([0, 1, 3, 6], np.int32).tobytes()
    assert whole.count(ends) == 1
    file.write_bytes(whole.replace(ends, ends[:-4] + b"\xff\xff\xff\x7f"))
    with pytest.raises(DataError, match=r"not a dataset that can be read \(ArrowInvalid"):
        read_pairs(tmp_path / "saved")
