"""The choice among readers, those of installed packages among them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from crosscue.api import as_run, load
from crosscue.cli import dispatch
from crosscue.data.sources import READERS, Reading, read_pairs
from crosscue.errors import CrosscueError, DataError, RunError
from tests.bench.fdrd import write_fdrd

RECORDS = [{"image": "1.jpg", "caption": "one"}]
KARPATHY = {"images": [{"filename": "1.jpg", "split": "test", "sentences": [{"raw": "one"}]}]}
COCO = {
    "images": [{"id": 1, "file_name": "1.jpg", "filename": "1.jpg", "split": "test", "sentences": [{"raw": "other"}]}],
    "annotations": [{"image_id": 1, "caption": "one"}],
}
FDRD = {"a": {"file_name": "1", "positive": "one", "negative": []}}
CONTENT = {"json": RECORDS, "karpathy": KARPATHY, "coco": COCO, "fdrd": FDRD}


@pytest.mark.parametrize("kind", sorted(CONTENT))
@pytest.mark.parametrize("held", sorted(CONTENT))
def test_a_json_file_is_read_as_the_kind_given_or_refused(draw_image, tmp_path: Path, kind: str, held: str) -> None:
    draw_image("1.jpg")
    file = tmp_path / "pets_test.json"
    file.write_text(json.dumps(CONTENT[held]))
    if kind == held:
        for reading in (Reading(), Reading(kind=kind)):
            (pair,) = read_pairs(file, reading=reading)
            assert pair.captions == ("one",)
    else:
        with pytest.raises(DataError, match=rf"pets_test.json: .* Leave --kind {kind} out"):
            read_pairs(file, reading=Reading(kind=kind))


def test_the_kind_given_counts_more_than_the_name(draw_image, tmp_path: Path) -> None:
    draw_image("1.jpg")
    (tmp_path / "table.data").write_text("image,caption\n1.jpg,one\n")
    (pair,) = read_pairs(tmp_path / "table.data", reading=Reading(kind="csv"))
    assert pair.captions == ("one",)
    with pytest.raises(DataError, match=r"table.data: no reader recognises it.*--kind: .*csv"):
        read_pairs(tmp_path / "table.data")


def test_a_folder_with_a_listing_is_read_as_the_kind_given(draw_image, tmp_path: Path) -> None:
    draw_image("1.jpg").with_suffix(".txt").write_text("beside")
    (tmp_path / "captions.json").write_text(json.dumps(COCO))
    found = {kind: read_pairs(tmp_path, reading=Reading(kind=kind))[0].captions for kind in ("auto", "coco", "folder")}
    assert found == {"auto": ("one",), "coco": ("one",), "folder": ("beside",)}


@pytest.mark.parametrize("kind", [name for name in READERS if name != "datasets"])
def test_every_reader_refuses_a_folder_or_file_it_cannot_read(tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"\xff\x00")
    for source in ("folder", "file", "nothing"):
        with pytest.raises(DataError, match=rf"{source}\b"):
            read_pairs(tmp_path / source, reading=Reading(kind=kind))


def test_a_source_that_is_no_path_is_one_line() -> None:
    with pytest.raises(DataError, match="the source of pairs is None; it must be a path"):
        read_pairs(None)
    for use in (load, as_run):
        with pytest.raises(RunError, match="the run is None; it must be a run folder"):
            use(None)


def test_an_unknown_kind_is_answered_with_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["data", "check", str(tmp_path), "--kind", "cocoo"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--kind cocoo: there is no such reader. Did you mean 'coco'? Choose from: auto, coco, csv" in line


def test_every_verb_reads_a_folder_of_fdrd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_fdrd(tmp_path)
    everything = read_pairs(folder)
    assert len(everything) == len({pair.image_id for pair in everything}) == 9 * 20
    pets = read_pairs(folder, reading=Reading(domain="pets"))
    assert len(pets) == 20
    assert pets.splits == ["test", "train", "val"]
    assert pets[0].negatives
    assert dispatch(["data", "check", str(folder), "--domain", "pets"]) == 0
    pets[0].image.path.unlink()
    assert len(read_pairs(folder, reading=Reading(domain="pets", missing="skip"))) == 19
    assert dispatch(["data", "check", str(folder), "--domain", "birds"]) == 2
    assert "FDRD has no domain 'birds'" in capsys.readouterr().err


def test_a_message_about_images_contains_a_command_that_works(
    draw_image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_image("some images/1.jpg").write_bytes(b"no")
    (tmp_path / "t.data").write_text("image,caption,split\n1.jpg,one,train\n")
    reading = Reading(kind="csv", images=tmp_path / "some images")
    pairs = read_pairs(tmp_path / "t.data", "train", reading)
    assert dispatch(["data", "check", *shlex.split(pairs.origin)]) == 1
    assert "unreadable" in capsys.readouterr().out
    assert pairs[:1].origin == pairs.with_captions(1).origin == pairs.origin


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "voc-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: voc\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crosscue.readers]\nbad = voc_bad:READER\nvoc = voc_reader:READER\n")
    (tmp_path / "site" / "voc_bad.py").write_text("import no_such_package\n")
    (tmp_path / "site" / "voc_reader.py").write_text(
        "from crosscue.data.pairs import ImageFile, Pair, Pairs\n"
        "from crosscue.data.readers.contract import Reader\n"
        "def read(path, reading):\n"
        "    lines = (path / 'list.voc').read_text().splitlines()\n"
        "    return Pairs((Pair(ImageFile(path / line), ('a ' + line,), line) for line in lines), str(path))\n"
        "READER = Reader('voc', lambda path: (path / 'list.voc').exists(), read)\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")


def test_a_reader_of_a_package_is_found_and_a_broken_one_is_named(
    plug_ins: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.voc").write_text("1.jpg\n2.jpg\n")
    for kind in ("auto", "voc"):
        assert read_pairs(tmp_path, reading=Reading(kind=kind)).captions == ["a 1.jpg", "a 2.jpg"]
    (warning,) = capsys.readouterr().err.splitlines()
    assert "plug-in 'bad' of voc" in warning
    assert "No module named 'no_such_package'" in warning
    with pytest.raises(CrosscueError, match=r"plug-in 'bad' of voc .*no_such_package"):
        read_pairs(tmp_path, reading=Reading(kind="bad"))
    with pytest.raises(DataError, match="Did you mean 'voc'"):
        read_pairs(tmp_path, reading=Reading(kind="vok"))


@pytest.mark.parametrize("missing", ["error", "skip", "keep"])
def test_paths_in_a_dataset_start_from_the_folder_given_and_missing_ones_are_treated_as_configured(
    draw_image, tmp_path: Path, missing: str
) -> None:
    import datasets

    draw_image("images/1.jpg")
    rows = {"image": ["1.jpg", "none.jpg"], "caption": ["one", "two"]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    reading = Reading(images=tmp_path / "images", missing=missing)
    if missing == "error":
        with pytest.raises(DataError, match=r"row 2: there is no image .*none.jpg.*--missing skip"):
            read_pairs(tmp_path / "saved", reading=reading)
    else:
        captions = read_pairs(tmp_path / "saved", reading=reading).captions
        assert captions == (["one"] if missing == "skip" else ["one", "two"])
