"""Tables as other programs write them: delimiters, headers, quotes, encodings, and what stands in a cell."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscue.data.cells import texts_of, written_list
from crosscue.data.pairs import Negative
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import DataError


@pytest.fixture
def images(draw_image, tmp_path: Path) -> Path:
    for number in range(4):
        draw_image(f"{number}.jpg", (6, 6), seed=number)
    return tmp_path


def read(folder: Path, content: str, name: str = "t.csv", encoding: str = "utf-8") -> list[str]:
    (folder / name).write_bytes(content.encode(encoding))
    pairs = read_pairs(folder / name)
    assert [Path(pair.image.name).name for pair in pairs] == [f"{number}.jpg" for number in range(len(pairs))]
    return pairs.captions


@pytest.mark.parametrize(
    "content",
    [
        "image;caption\n0.jpg;one, two\n1.jpg;three",
        "sep=;\nimage;caption\n0.jpg;one, two\n1.jpg;three",
        "image\tcaption\n0.jpg\tone, two\n1.jpg\tthree",
        "image|caption\n0.jpg|one, two\n1.jpg|three",
        "image_name| comment_number| comment\n0.jpg| 0| one, two\n1.jpg| 0   three\n",
        'Image,Caption\n0.jpg,"one, two"\n1.jpg,three\n',
        'image, caption\n0.jpg, "one, two"\n1.jpg, three\n',
        ' File Name ,CAPTION\n0.jpg,"one, two"\n1.jpg,three\n',
        '"filepath","title"\n".\\0.jpg","one, two"\n".\\1.jpg",three\n',
        '\n\nimage,caption\n\n0.jpg,"one, two"\n\n1.jpg,three\n',
        'image,caption\r0.jpg,"one, two"\r1.jpg,three\r',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_every_dialect_is_read(images: Path, content: str, encoding: str) -> None:
    assert read(images, content, encoding=encoding) == ["one, two", "three"]


def test_numbered_columns_are_the_captions_of_an_image(images: Path) -> None:
    assert read(images, "image,Caption_0,caption_1\n0.jpg,one,uno\n1.jpg,two,") == ["one", "uno", "two"]


def test_a_column_that_is_there_twice_is_refused(images: Path) -> None:
    with pytest.raises(DataError, match=r"t.csv: the header has column 'caption' twice"):
        read(images, "image,caption,caption\n0.jpg,one,uno")


def test_columns_that_are_not_known_are_named(images: Path) -> None:
    with pytest.raises(DataError, match=r"t.csv: no image column. Columns found: Bild;Satz"):
        read(images, "Bild;Satz\n0.jpg;eins")


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (['"an open quote', "two", 'a "word" inside'], None),
        (['"said" she', 'he "said"', '"'], None),
        (['"a ""quoted"" field"', '"with\ttab"', "plain"], ['a "quoted" field', "with\ttab", "plain"]),
    ],
)
def test_quotes_in_a_tsv_belong_to_the_captions(images: Path, captions: list[str], expected: list[str] | None) -> None:
    content = "image\tcaption\n" + "\n".join(f"{number}.jpg\t{text}" for number, text in enumerate(captions))
    assert read(images, content, "t.tsv") == (expected or captions)


@pytest.mark.parametrize("line", ['2.jpg\t"one\ttwo', "2.jpg", "2.jpg\tone\ttwo"])
def test_a_row_of_another_width_is_named_with_its_line(images: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"t.tsv line 3: the row does not have the 2 columns"):
        read(images, f"image\tcaption\n0.jpg\tone\n{line}\n1.jpg\tthree", "t.tsv")


def test_a_quote_that_swallows_rows_is_refused(images: Path) -> None:
    with pytest.raises(DataError, match=r"line 2 to 4: a field in quotes contains the row '1.jpg,two'"):
        read(images, 'image,caption\n0.jpg,"an open quote\n1.jpg,two\n2.jpg,"\n')
    assert read(images, 'image,caption\n0.jpg,"two\nlines"\n1.jpg,two') == ["two\nlines", "two"]
    with pytest.raises(DataError, match=r"t.csv line 3 to 4: unexpected end of data"):
        read(images, 'image,caption\n0.jpg,one\n1.jpg,"two\nthree')


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json"])
def test_another_encoding_is_named_with_its_line(images: Path, name: str) -> None:
    record = '{"image": "0.jpg",\n"caption": "café"}'
    content = {"t.csv": "image,caption\n0.jpg,café", "t.jsonl": record.replace(",\n", ", "), "t.json": f"[{record}]"}
    line = 1 if name == "t.jsonl" else 2
    with pytest.raises(DataError, match=rf"{name} line {line}: not UTF-8 \(byte 0xe9\).* iconv -f WINDOWS-1252"):
        read(images, content[name], name, "cp1252")
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert read(images, content[name], name, encoding) == ["café"]


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [(r"in\a.jpg", "in/a.jpg"), (r".\in\a.jpg", "in/a.jpg"), (" in/a.jpg ", "in/a.jpg"), ("~/in/a.jpg", "in/a.jpg")]
    + [
        (unicodedata.normalize(one, "in/café.jpg"), unicodedata.normalize(other, "in/café.jpg"))
        for one, other in (("NFC", "NFD"), ("NFD", "NFC"))
    ],
)
def test_a_path_is_found_as_another_system_writes_it(
    draw_image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, on_disk: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = draw_image(on_disk)
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": written, "caption": "one"}))
    (pair,) = read_pairs(tmp_path / "t.jsonl")
    assert pair.image.read() == path.read_bytes()


def test_images_are_found_in_the_usual_folder_beside_the_list(draw_image, tmp_path: Path) -> None:
    path = draw_image("Images/0.jpg")
    (tmp_path / "t.csv").write_text("image,caption\n0.jpg,one")
    assert read_pairs(tmp_path / "t.csv")[0].image.path == path


LISTS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip), min_size=1
)


@settings(max_examples=100, deadline=None)
@given(LISTS, st.sampled_from([repr, json.dumps, lambda texts: "[" + " ".join(map(repr, texts)) + "]"]))
def test_a_list_in_a_cell_is_its_items(texts: list[str], write) -> None:
    assert texts_of("here", write(texts)) == texts


@pytest.mark.parametrize("text", ["[sic] a dog", "[1]", "[a] b [c]", "['open]", "[", "[]x", "['a' b]", "[dog]"])
def test_a_text_in_brackets_is_a_text(text: str) -> None:
    assert texts_of("here", text) == [text]


def test_missing_values_in_a_cell_are_empty() -> None:
    assert written_list("['a', nan, None, 'b']") == ["a", None, None, "b"]
    assert texts_of("here", ["a", float("nan"), None, {"raw": None}]) == ["a", "", "", ""]
    assert texts_of("here", [["a", "b"], {"sentence": "c"}, {"raw": ["d", "e"]}]) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"captions": ["a", None]}, "caption 2 is empty"),
        ({"captions": ["a", float("nan")]}, "caption 2 is empty"),
        ({"captions": []}, "there is no caption"),
        ({"captions": ["a", 5]}, "caption 2 is int, not a text"),
        ({"captions": [[["a"]]]}, "caption 1 is list, not a text"),
        ({"captions": {"en": "a", "de": "b"}}, "caption 1 is a record without a text. Keys found: en, de"),
        ({"captions": [{"tokens": ["a"]}]}, "caption 1 is a record without a text. Keys found: tokens"),
        ({"caption": "a \ud83d"}, r"caption 1 contains half a character \(\\ud83d, a lone surrogate\)"),
        ({"caption": "a\0b"}, "caption 1 contains a zero byte"),
        ({"caption": "a", "image": "0\ud83d.jpg"}, "image contains half a character"),
        ({"caption": "a", "image": "0\0.jpg"}, "image contains a zero byte"),
        ({"caption": "a", "image": "x" * 5000}, "there is no image"),
        ({"caption": "a", "image": "."}, "is no file"),
        ({"caption": "a", "image": "/dev/zero"}, "is no file"),
        ({"caption": "a", "image": "https://example.org/0.jpg"}, "is an address, and images are read from files"),
        ({"caption": "a", "image": {"bytes": "text"}}, "neither a path nor encoded bytes but list"),
        ({"caption": "a", "image": True}, "neither a path nor encoded bytes but bool"),
        ({"caption": "a", "image": None}, "column 'image' is empty"),
        ({"caption": "a", "category": ["b"]}, "the category must be a text, not list"),
        ({"caption": "a", "split": {"b": 1}}, "the split must be a text, not dict"),
        ({"caption": "a", "negatives": [5]}, "negative 1 must be a text"),
        ({"caption": "a", "negatives": ["b\ud83d"]}, "negative 1 contains half a character"),
    ],
)
def test_a_value_that_is_no_text_is_named(images: Path, values: dict, words: str) -> None:
    (images / "t.jsonl").write_text(json.dumps({"image": "0.jpg", **values}))
    with pytest.raises(DataError, match=rf"t.jsonl line 1: .*{words}"):
        read_pairs(images / "t.jsonl")


def test_rows_without_image_or_caption_are_left_out_and_counted(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "t.csv").write_text("image,caption\n0.jpg,one\nnone.jpg,two\n1.jpg,\n2.jpg,three")
    pairs = read_pairs(images / "t.csv", reading=Reading(missing="skip"))
    assert pairs.captions == ["one", "three"]
    assert "left out by --missing skip: 1 missing images, 1 empty captions" in capsys.readouterr().err


def test_an_edited_caption_in_brackets_is_a_negative(images: Path) -> None:
    (images / "t.jsonl").write_text(json.dumps({"image": "0.jpg", "caption": "a", "negatives": "[sic] b"}))
    assert read_pairs(images / "t.jsonl")[0].negatives == (Negative("[sic] b"),)


@pytest.mark.parametrize("text", ['{"a": ' * 100_000, "[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": 1e', "nul"])
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_json_that_no_parser_reads_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}( line 1)?: not"):
        read_pairs(tmp_path / name)
