"""Folders as downloads, editors and operating systems leave them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from crosscue.cli import dispatch
from crosscue.data.pairs import Pairs
from crosscue.data.path_splits import split_and_category, split_depth, split_in_words
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import DataError


@pytest.fixture
def put(draw_image, tmp_path: Path):
    """Writes an image with its caption beside it, each image with its own content."""
    made: list[str] = []

    def put(name: str, caption: str | None = None) -> Path:
        made.append(name)
        path = draw_image(name, (6, 6), seed=len(made))
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return path

    return put


def found(pairs: Pairs) -> dict[str, tuple[str | None, str | None]]:
    return {pair.captions[0]: (pair.split, pair.category) for pair in pairs}


@pytest.mark.parametrize("above", ["", "images/", "data/images/"])
def test_split_folders_may_be_below_another_folder(put, tmp_path: Path, above: str) -> None:
    put(f"set/{above}Train/1.jpg", "one"), put(f"set/{above}train/cat/2.jpg", "two")
    put(f"set/{above}test2017/3.jpg", "three"), put(f"set/{above}validation/4.jpg", "four")
    expected = {"one": ("train", None), "two": ("train", "cat"), "three": ("test", None), "four": ("val", None)}
    assert found(read_pairs(tmp_path / "set")) == expected


def test_one_split_name_among_others_is_a_category(put, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "bus", "car"):
        put(f"set/{name}/1.jpg", name)
    assert found(read_pairs(tmp_path / "set")) == {name: (None, name) for name in ("train", "bus", "car")}
    assert "the folder 'train' stands beside 'bus', 'car', so it is a category" in capsys.readouterr().err


def test_images_outside_the_splits_are_counted(put, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "test", "extra"):
        put(f"set/{name}/1.jpg", name)
    assert found(read_pairs(tmp_path / "set"))["extra"] == (None, "extra")
    assert "1 of 3 images have no split, such as" in capsys.readouterr().err


@given(
    st.lists(
        st.lists(st.sampled_from(["training camp", "latest", "contest", "trainee", "values"]), max_size=3).map(tuple)
    )
)
def test_a_part_of_a_word_is_no_split(folders: list[tuple[str, ...]]) -> None:
    assert split_depth(folders) is None
    assert all(split is None for split, _ in split_and_category(folders))
    assert all(split_in_words(name) is None for name in ("latest", "contest_captions", "trainee", "train_and_test"))
    assert split_in_words("captions_val2017") == "val"


def test_a_coco_file_is_not_split_by_a_part_of_its_name(put, tmp_path: Path) -> None:
    put("1.jpg"), put("2.jpg")
    content = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": "2", "file_name": "2.jpg"}],
        "annotations": [{"image_id": 2, "caption": "two"}, {"image_id": 1, "caption": "one"}],
    }
    for name, split in (("latest_contest.json", None), ("captions_train2014.json", "train")):
        (tmp_path / name).write_text(json.dumps(content))
        assert found(read_pairs(tmp_path / name)) == {"two": (split, None), "one": (split, None)}
    content["images"].append({"id": 1, "file_name": "2.jpg"})
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="image 3: id 1 is already another file"):
        read_pairs(tmp_path / "c.json")


def test_a_table_without_splits_takes_them_from_the_paths(put, tmp_path: Path) -> None:
    rows = [f"in/{split}/{number}.jpg,{split} {number}" for split in ("train", "val", "test") for number in range(2)]
    for row in rows:
        put(row.split(",")[0])
    (tmp_path / "t.csv").write_text("\n".join(["image,caption", *rows]))
    assert all(pair.captions[0].startswith(str(pair.split)) for pair in read_pairs(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text("\n".join(["image,caption", *rows[:2]]))
    assert read_pairs(tmp_path / "t.csv").splits == []


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("above", ["", "data/"])
def test_both_forms_of_an_image_folder_give_the_same_pairs(put, tmp_path: Path, form: str, above: str) -> None:
    names = [f"{split}/{number}.jpg" for split in ("train", "test") for number in range(2)]
    for name in names:
        put(f"one/{name}"), put(f"each/{above}{name}")

    def write(folder: Path, images: list[str], captions: list[str]) -> None:
        file = folder / f"metadata.{form}"
        if form == "csv":
            rows = zip(images, captions, strict=True)
            file.write_text("file_name,text\n" + "".join(f"{image},{caption}\n" for image, caption in rows))
        elif form == "jsonl":
            rows = ({"file_name": image, "text": caption} for image, caption in zip(images, captions, strict=True))
            file.write_text("\n".join(map(json.dumps, rows)))
        else:
            parquet.write_table(pyarrow.table({"file_name": images, "text": captions}), file)

    write(tmp_path / "one", names, names)
    for split in ("train", "test"):
        mine = [name for name in names if name.startswith(split)]
        write(tmp_path / "each" / above / split, [Path(name).name for name in mine], mine)
    expected = {name: (name.split("/")[0], None) for name in names}
    assert found(read_pairs(tmp_path / "one")) == found(read_pairs(tmp_path / "each")) == expected


@pytest.mark.parametrize("above", ["", "data/"])
def test_shards_of_parquet_are_read_with_their_splits(put, tmp_path: Path, above: str) -> None:
    (tmp_path / "set" / above).mkdir(parents=True)
    for split in ("train", "validation", "test"):
        for shard in range(2):
            image = put(f"{split}{shard}.jpg").read_bytes()
            table = pyarrow.table({"image": [{"bytes": image, "path": "image.jpg"}], "caption": [f"{split} {shard}"]})
            parquet.write_table(table, tmp_path / "set" / above / f"{split}-{shard:05}-of-00002.parquet")
    names = {"train": "train", "validation": "val", "test": "test"}
    expected = {f"{name} {shard}": (split, None) for name, split in names.items() for shard in range(2)}
    assert found(read_pairs(tmp_path / "set")) == expected


HIDDEN = [
    "._a.jpg",
    "._a.txt",
    ".hidden/b.jpg",
    "__MACOSX/._a.jpg",
    ".ipynb_checkpoints/a-checkpoint.jpg",
    "@eaDir/a.jpg/S.jpg",
    "Thumbs.db",
]


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_and_system_files_are_ignored_and_counted(
    put, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    put("set/a.jpg", "one")
    (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "set" / name).write_bytes(b"\0\1")
    assert dispatch(["data", "check", str(tmp_path / "set")]) == 0
    assert f"1 hidden or system files and folders are ignored, such as {name.split('/')[0]}" in capsys.readouterr().err


def test_links_to_folders_are_followed_and_loops_end(put, tmp_path: Path) -> None:
    put("far/1.jpg", "one"), put("set/test/2.jpg", "two")
    (tmp_path / "set" / "train").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "far" / "self").symlink_to("self")
    assert found(read_pairs(tmp_path / "set")) == {"one": ("train", None), "two": ("test", None)}


@pytest.mark.parametrize("caption", [unicodedata.normalize("NFD", "é.txt"), "É.TXT"])
def test_a_caption_file_is_found_with_other_capitals_and_accents(put, tmp_path: Path, caption: str) -> None:
    put("é.jpg")
    (tmp_path / caption).write_text("one\u2028still one\r\ntwo")
    assert read_pairs(tmp_path).captions == ["one\u2028still one", "two"]


@pytest.mark.parametrize(
    ("encoding", "words"), [("utf-8-sig", None), ("utf-16", None), ("cp1252", r"1.txt line 1: not UTF-8 \(byte 0xe9\)")]
)
def test_the_encoding_of_a_caption_file_is_read_or_named(put, tmp_path: Path, encoding: str, words: str | None) -> None:
    put("1.jpg").with_suffix(".txt").write_bytes("café".encode(encoding))
    if words is None:
        assert read_pairs(tmp_path).captions == ["café"]
    else:
        with pytest.raises(DataError, match=words):
            read_pairs(tmp_path)


TOKENS = "".join(f"{image}.jpg#{number}\t{image} {number}\n" for image in range(3) for number in range(2))
KAGGLE_8K = "image,caption\n" + "".join(
    f'{image}.jpg,"{image} {number}"\n' for image in range(3) for number in range(2)
)
KAGGLE_30K = "image_name| comment_number| comment\n" + "".join(
    f"{image}.jpg| {number}{'|' if image else '  '} {image} {number}\n" for image in range(3) for number in range(2)
)


@pytest.mark.parametrize(
    ("text", "name", "images"),
    [
        (TOKENS, "Flickr8k.token.txt", "Flicker8k_Dataset"),
        (TOKENS.replace("2.jpg#", "2.jpg.1#"), "Flickr8k_text/Flickr8k.token.txt", "Flicker8k_Dataset"),
        (TOKENS, "results_20130124.token", "flickr30k-images"),
        (KAGGLE_8K, "captions.txt", "Images"),
        (KAGGLE_30K, "results.csv", "flickr30k_images"),
        (KAGGLE_30K, "results.csv", "flickr30k_images/flickr30k_images"),
    ],
)
def test_flickr_is_read_as_distributed(put, tmp_path: Path, text: str, name: str, images: str) -> None:
    for number in range(3):
        put(f"{images}/{number}.jpg")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    for source in (tmp_path, tmp_path / name):
        assert [pair.captions for pair in read_pairs(source)] == [(f"{n} 0", f"{n} 1") for n in range(3)]


def test_the_lists_of_flickr8k_are_its_splits(put, tmp_path: Path) -> None:
    for number in range(3):
        put(f"Flicker8k_Dataset/{number}.jpg")
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    for number, name in enumerate(("train", "dev", "test")):
        (tmp_path / f"Flickr_8k.{name}Images.txt").write_text(f"{number}.jpg\n")
    assert [pair.split for pair in read_pairs(tmp_path)] == ["train", "val", "test"]


def test_a_text_called_captions_beside_an_image_is_its_caption(put, tmp_path: Path) -> None:
    put("captions.jpg", "a page of captions")
    assert read_pairs(tmp_path).captions == ["a page of captions"]


@pytest.mark.parametrize("kind", ["folder", "imagefolder", "flickr"])
def test_the_readers_of_folders_name_what_is_not_there(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"no images here|no table metadata|does not read this folder"):
        read_pairs(tmp_path, reading=Reading(kind=kind))
