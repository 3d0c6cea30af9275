"""Every reader on a real file, and what it says about a bad one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from crosscue.data.audit import audit, ceilings
from crosscue.data.pairs import ImageFile, Negative, Pair, Pairs
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import DataError, NetworkError


def summary(pairs: Pairs) -> list[tuple[str, tuple[str, ...], str | None, str | None]]:
    return [(Path(pair.image.name).name, pair.captions, pair.category, pair.split) for pair in pairs]


def test_folder_with_sidecar_captions(draw_image, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        path = draw_image(f"set/{split}/cat/1.jpg")
        path.with_suffix(".txt").write_text("a cat\n\nthe same cat\n", encoding="utf-8")
    assert summary(read_pairs(tmp_path / "set")) == [
        ("1.jpg", ("a cat", "the same cat"), "cat", "train"),
        ("1.jpg", ("a cat", "the same cat"), "cat", "val"),
    ]
    draw_image("set/train/cat/2.jpg")
    with pytest.raises(DataError, match=r"2.jpg: no caption file 2.txt"):
        read_pairs(tmp_path / "set")


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_tables_merge_the_rows_of_an_image(draw_image, tmp_path: Path, suffix: str, delimiter: str) -> None:
    draw_image("1.jpg"), draw_image("2.jpg")
    rows = [
        ("file_name", "caption", "class", "split"),
        ("1.jpg", "one", "a", "train"),
        ("1.jpg", "uno", "a", "train"),
        ("2.jpg", "two", "b", "dev"),
    ]
    (tmp_path / f"t{suffix}").write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8-sig")
    assert summary(read_pairs(tmp_path / f"t{suffix}")) == [
        ("1.jpg", ("one", "uno"), "a", "train"),
        ("2.jpg", ("two",), "b", "val"),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("file,caption\n1.jpg,one", r"t.csv: no image column. Columns found: file, caption"),
        ("image,words\n1.jpg,one", r"t.csv: no caption column"),
        ("image,caption\n1.jpg,one\n1.jpg,", r"line 3: column 'caption' is empty"),
        ("image,caption\n1.jpg,  ", r"line 2: the caption is empty"),
        ("image,caption\n1.jpg,one,more", r"line 2: the row does not have the 2 columns"),
        ("image,caption\nnone.jpg,one", r"line 2: there is no image .*none.jpg"),
        ("image,caption,split\n1.jpg,one,train\n1.jpg,two,test", r"line 3: image '1.jpg' is here in split test"),
    ],
)
def test_bad_rows_are_named(draw_image, tmp_path: Path, lines: str, words: str) -> None:
    draw_image("1.jpg")
    (tmp_path / "t.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_pairs(tmp_path / "t.csv")


def test_missing_images_may_be_skipped(draw_image, tmp_path: Path) -> None:
    draw_image("1.jpg")
    (tmp_path / "t.csv").write_text("image,caption\n1.jpg,one\nnone.jpg,two")
    assert len(read_pairs(tmp_path / "t.csv", reading=Reading(missing="skip"))) == 1


def test_jsonl_and_json(draw_image, tmp_path: Path) -> None:
    draw_image("1.jpg")
    record = {"image": "1.jpg", "captions": ["one", "uno"], "negatives": ["two"], "image_id": 7, "category": "a"}
    (tmp_path / "t.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "t.json").write_text(json.dumps([record]))
    for name in ("t.jsonl", "t.json"):
        (pair,) = read_pairs(tmp_path / name)
        assert (pair.captions, pair.negatives, pair.image_id) == (("one", "uno"), (Negative("two"),), "7")
    (tmp_path / "t.jsonl").write_text(json.dumps(record) + "\n{broken\n")
    with pytest.raises(DataError, match=r"t.jsonl line 2: not valid JSON"):
        read_pairs(tmp_path / "t.jsonl")


def test_parquet_with_embedded_images(draw_image, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    encoded = draw_image("1.jpg").read_bytes()
    table = pyarrow.table({"image": [{"bytes": encoded, "path": "1.jpg"}], "text": ["one"], "split": ["test"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    (pair,) = read_pairs(tmp_path / "t.parquet")
    assert (pair.image.read(), pair.captions, pair.split) == (encoded, ("one",), "test")


def test_datasets_folder(draw_image, tmp_path: Path) -> None:
    import datasets

    rows = {"image": [str(draw_image("1.jpg")), str(draw_image("2.jpg"))], "caption": ["one", "two"]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": table, "validation": table}).save_to_disk(tmp_path / "saved")
    pairs = read_pairs(tmp_path / "saved")
    assert [(pair.captions, pair.split) for pair in pairs] == [
        (("one",), "train"),
        (("two",), "train"),
        (("one",), "val"),
        (("two",), "val"),
    ]
    assert pairs[0].image.read() == (tmp_path / "1.jpg").read_bytes()


def test_a_dataset_with_null_images_names_their_rows(draw_image, tmp_path: Path) -> None:
    import datasets

    cells = [{"bytes": draw_image("1.jpg").read_bytes(), "path": None}, None, None]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    rows = {"image": cells, "caption": ["one", "two", "three"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="row 2: column 'image' is empty"):
        read_pairs(tmp_path / "saved")
    faults: dict[str, list[str]] = {}
    assert read_pairs(tmp_path / "saved", faults=faults).captions == ["one"]
    assert len(faults["missing images"]) == 2
    assert read_pairs(tmp_path / "saved", reading=Reading(missing="skip")).captions == ["one"]


def test_a_hub_id_without_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True, raising=False)
    with pytest.raises((NetworkError, DataError), match="nobody/nothing"):
        read_pairs("nobody/nothing")


def test_karpathy(draw_image, tmp_path: Path) -> None:
    draw_image("val2014/1.jpg"), draw_image("val2014/2.jpg")
    images = [
        {
            "filepath": "val2014",
            "filename": f"{n}.jpg",
            "imgid": n,
            "split": split,
            "sentences": [{"raw": f"{n} a", "tokens": []}, {"raw": f"{n} b", "tokens": []}],
        }
        for n, split in ((1, "restval"), (2, "test"))
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    assert summary(read_pairs(tmp_path / "dataset_coco.json")) == [
        ("1.jpg", ("1 a", "1 b"), None, "train"),
        ("2.jpg", ("2 a", "2 b"), None, "test"),
    ]


def test_coco_captions(draw_image, tmp_path: Path) -> None:
    draw_image("000000000001.jpg")
    content = {
        "images": [{"id": 1, "file_name": "000000000001.jpg"}],
        "annotations": [{"id": n, "image_id": 1, "caption": f"text {n}"} for n in range(5)],
    }
    (tmp_path / "captions_val2017.json").write_text(json.dumps(content))
    (pair,) = read_pairs(tmp_path / "captions_val2017.json")
    assert (len(pair.captions), pair.split, pair.image_id) == (5, "val", "1")
    content["annotations"].append({"id": 9, "image_id": 404, "caption": "lost"})
    (tmp_path / "captions_val2017.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="image 404 is not in"):
        read_pairs(tmp_path / "captions_val2017.json")


@pytest.mark.parametrize(
    ("name", "record", "relative"),
    [
        ("pets_test", {"file_name": "sphynx_1"}, "sphynx_1.jpg"),
        ("flower_test", {"file_name": "x", "class_name": "iris", "number": 7}, "image_00007.jpg"),
        ("plane_test", {"file_name": "0012345"}, "images/0012345.jpg"),
        ("inter_caltech-101_test", {"file_name": "Faces_image_0003", "class_name": "face"}, "Faces/image_0003.jpg"),
        ("inter_car_train", {"file_name": "cars_train_05266.jpg", "class_name": "c"}, "cars_train/05266.jpg"),
        ("inter_dtd_test", {"file_name": "banded_0001", "class_name": "banded"}, "banded/banded_0001.jpg"),
        ("inter_food_test", {"file_name": "123", "class_name": "pizza"}, "pizza/123.jpg"),
        ("inter_ucf101_test", {"file_name": "v_1", "class_name": "Archery"}, "Archery/v_1.jpg"),
        ("inter_sun397_test", {"file_name": "a/abbey/sun_1"}, "a/abbey/sun_1.jpg"),
    ],
)
def test_fdrd_paths_of_all_nine_domains(tmp_path: Path, name: str, record: dict, relative: str) -> None:
    full = {
        **record,
        "file_path": "YOUR_IMAGE_PATH",
        "positive": "This is a photo of a thing.It is red.",
        "negative": ["no"] * 4,
    }
    (tmp_path / f"{name}.json").write_text(json.dumps({"key": full}))
    (pair,) = read_pairs(tmp_path / f"{name}.json")
    assert pair.image_id == relative
    assert len(pair.negatives) == 4
    (repaired,) = read_pairs(tmp_path / f"{name}.json", reading=Reading(clean="spaces"))
    assert repaired.captions == ("This is a photo of a thing. It is red.",)


def test_negatives_may_say_what_they_are(tmp_path: Path) -> None:
    record = {"text": "a cat", "type": "attribute", "from": "dog", "to": "cat"}
    file = tmp_path / "pairs.jsonl"
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    file.write_text(json.dumps({"image": "1.jpg", "caption": "a dog", "negatives": ["no", record]}))
    (pair,) = read_pairs(file)
    assert pair.negatives == (Negative("no", "category"), Negative("a cat", "attribute", "dog", "cat"))
    assert pair.negatives[1].to_dict() == record
    file.write_text(json.dumps({"image": "1.jpg", "caption": "a", "negatives": [{"type": "other"}]}))
    with pytest.raises(DataError, match=r"line 1: negative 1 must be a text or \{text, type\}"):
        read_pairs(file)


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match="nothing: there is no such file or folder"):
        read_pairs("~/nothing")


def test_fdrd_without_the_dataset_names_the_split_file(tmp_path: Path) -> None:
    (tmp_path / "pets_test.json").write_text('{"1": {"file_name": "a_1.jpg", "positive": ["a"]}}')
    with pytest.raises(DataError, match=r"split_zhou_OxfordPets\.json: there is no such file .* --split_file"):
        read_pairs(tmp_path)


def test_fdrd_with_a_foreign_split_file_fails(tmp_path: Path) -> None:
    (tmp_path / "pets_test.json").write_text(json.dumps({"a": {"file_name": "a_1", "positive": "x", "negative": []}}))
    (tmp_path / "split.json").write_text(json.dumps({"train": [], "val": [], "test": [["b_1.jpg", 0, "b"]]}))
    with pytest.raises(DataError, match=r"1 of 1 images are not in .*split.json, e.g. a_1.jpg"):
        read_pairs(tmp_path / "pets_test.json", reading=Reading(split_file=tmp_path / "split.json"))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "split_file", "count", "ceiling"),
    [
        ("flower_test", "OxfordFlowers", 2463, 98.78),
        ("pets_test", "OxfordPets", 3669, 99.84),
        ("plane_test", None, 3333, 98.98),
        ("inter_caltech-101_test", "Caltech101", 2465, 99.47),
        ("inter_dtd_test", "DescribableTextures", 1692, 99.53),
    ],
)
def test_released_fdrd_files_join_and_have_the_known_ceiling(
    shared: Path, name: str, split_file: str | None, count: int, ceiling: float
) -> None:
    joined = shared / "splits" / f"split_zhou_{split_file}.json" if split_file else None
    pairs = read_pairs(shared / "fdrd" / f"{name}.json", reading=Reading(split_file=joined))
    assert len(pairs) == count
    assert ceilings(pairs) == pytest.approx((ceiling, ceiling), abs=0.01)


@pytest.mark.shared
def test_records_without_images_can_be_left_out(shared: Path) -> None:
    assert len(read_pairs(shared / "flickr8k", reading=Reading(missing="skip"))) == 2600


def test_unknown_sources_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        read_pairs(tmp_path / "nothing.csv")
    (tmp_path / "odd.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"odd.json: no reader recognises it"):
        read_pairs(tmp_path / "odd.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images here"):
        read_pairs(tmp_path / "empty")


def test_audit_finds_what_is_wrong(draw_image, tmp_path: Path) -> None:
    same = draw_image("1.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(same)
    (tmp_path / "3.jpg").write_bytes(same[:300])
    draw_image("4.jpg", mode="CMYK", seed=4)
    rows = [
        ("1.jpg", "a cat", "train"),
        ("2.jpg", "a cat", "test"),
        ("3.jpg", "a very long caption indeed", "test"),
        ("4.jpg", "two", "test"),
    ]
    (tmp_path / "t.csv").write_text("image,caption,split\n" + "\n".join(",".join(row) for row in rows))
    found = audit(read_pairs(tmp_path / "t.csv"), token_count=lambda text: len(text.split()), max_tokens=4)
    assert [Path(name).name for name, _ in found.unreadable] == ["3.jpg"]
    assert [over for _, over in found.long_captions] == [1]
    assert [[Path(name).name for name in names] for names in found.same_images] == [["1.jpg", "2.jpg"]]
    assert sum("captions" in leak for leak in found.leaks) == 1
    assert sum("byte-identical" in leak for leak in found.leaks) == 1
    assert "CMYK" in found.converted[0][1]
    assert found.without_category == 4
    assert found.blocking
    assert json.loads(json.dumps(found.to_dict()))["splits"]["test"]["images"] == 3


def test_ceiling_of_shared_captions() -> None:
    texts = ("same", "same", "own", "other")
    pairs = Pairs([Pair(ImageFile(Path(f"{i}.jpg")), (text,), str(i)) for i, text in enumerate(texts)])
    assert ceilings(pairs) == (75.0, 75.0)


def test_what_a_model_wrote_is_read_beside_the_captions(tmp_path: Path) -> None:
    rows = [
        {"image": "a.jpg", "caption": "a dog", "synthetic": "a brown dog on grass"},
        {"image": "b.jpg", "caption": "a cat", "drafts": [{"text": " "}, {"template": "x", "text": "a cat on a sofa"}]},
        {"image": "c.jpg", "caption": "a cow"},
    ]
    file = tmp_path / "captions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    pairs = read_pairs(file, reading=Reading(missing="keep"))
    assert [pair.synthetic for pair in pairs] == ["a brown dog on grass", "a cat on a sofa", None]
    bare = Pairs([replace(pair, synthetic=None) for pair in pairs])
    assert bare.fingerprint() != pairs.fingerprint()


def test_a_text_that_begins_like_a_list_is_a_text(draw_image, tmp_path: Path) -> None:
    draw_image("1.jpg")
    row = {"image": "1.jpg", "caption": "[sic] a dgo", "negatives": "[sic] a cat", "drafts": '["a dog"]'}
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    (pair,) = read_pairs(tmp_path / "t.jsonl")
    assert (pair.captions, pair.negatives, pair.synthetic) == (("[sic] a dgo",), (Negative("[sic] a cat"),), "a dog")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"caption": 5}, "line 1: a caption must be text"),
        ({"caption": [{"words": "a"}]}, r"line 1: caption 1 is a record without a text. Keys found: words"),
        ({"caption": "a", "negatives": 5}, "line 1: a negative must be text"),
    ],
)
def test_values_of_another_type_are_named(draw_image, tmp_path: Path, values: dict, words: str) -> None:
    draw_image("1.jpg")
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "1.jpg", **values}))
    with pytest.raises(DataError, match=words):
        read_pairs(tmp_path / "t.jsonl")
