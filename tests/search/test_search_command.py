"""The verb `crosscue search` and `crosscue.open`, with a tiny CLIP, from the folder of images to the hits."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lancedb")

import crosscue
from crosscue.commands.search import separated
from crosscue.commands.search_output import Output, line_of
from crosscue.commands.terminal_images import drawn, protocol_of
from crosscue.errors import CollectionError, StorageError
from crosscue.search.hits import Hit
from crosscue.search.indexing import writing
from tests import tiny
from tests.cli import crosscue as command
from tests.cli import refused, succeeds
from tests.search.conftest import paint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixty images, of which one has a caption; two spaces of one run."""
    folder = tmp_path_factory.mktemp("search") / "photos"
    for number in range(60):
        paint(folder / f"{number:02}.png", number, 40)
    (folder / "04.txt").write_text("a red bicycle")
    own = ("--backbone", str(tiny.clip_folder()), "--precision", "fp32")
    succeeds("index", folder, "--run", "zero_shot", "--captions", *own)
    succeeds("index", folder, "--run", "zero_shot", "--name", "second", *own)
    return folder


def test_hits_are_printed_as_a_table_json_and_paths(place: Path) -> None:
    table = succeeds("search", "red", "bicycles", "--collection", place, "--all", "--k", 3)
    first = table.splitlines()[0]
    assert first.split()[0] == "1"
    assert str(place / "04.png") in first
    assert "in caption" in first
    assert "“a red bicycle”" in first
    record = json.loads(succeeds("search", "red bicycles", "--collection", place, "--all", "-k", 3, "--json"))
    assert Path(record["hits"][0]["path"]).name == "04.png"
    assert len(record["hits"]) == 3
    paths = succeeds("search", "red bicycles", "--collection", place, "--all", "--k", 3, "--paths")
    assert paths.splitlines() == [hit["path"] for hit in record["hits"]]
    zeros = succeeds("search", "red bicycles", "--collection", place, "--all", "--k", 3, "--paths0")
    assert zeros.split("\0")[:-1] == paths.splitlines()


def test_an_image_finds_itself_and_terms_are_joined(place: Path) -> None:
    assert str(place / "07.png") in succeeds("search", place / "07.png", "--collection", place).splitlines()[0]
    both = ("search", place / "07.png", "+", "0.1:sky", "-", "0.1:sea", "--collection", place, "--paths", "--all")
    assert succeeds(*both).splitlines()[0] == str(place / "07.png")


def test_conditions_are_options_too(place: Path) -> None:
    assert succeeds(
        "search", "x", "--collection", place, "--filter", "-name:1 -name:0 name:22", "--all", "--paths"
    ) == (f"{place / '22.png'}\n")
    found = succeeds("search", "x", "--caption", "RED bicycle", "--collection", place, "--all", "--paths")
    assert found == f"{place / '04.png'}\n"
    none = command("search", "x", "--format", "gif", "--collection", place)
    assert (none.returncode, none.stdout) == (1, "no image meets the conditions.\n")


def test_two_spaces_stand_side_by_side(place: Path) -> None:
    spaces = ("--space", "zero_shot", "--compare", "second")
    out = succeeds("search", place / "07.png", "--collection", place, *spaces, "--filter", "name:07")
    assert out.splitlines()[0].split() == ["zero_shot", "second"]
    assert [cell.lstrip("~") for cell in out.splitlines()[1].split() if "07" in cell] == ["07.png", "07.png"]
    assert out.splitlines()[1].split().count("#1") == 2
    record = json.loads(succeeds("search", "x", "--collection", place, "--compare", "zero_shot", "--json"))
    assert [hit["other_rank"] for hit in record["left"]["hits"]] == list(range(1, len(record["left"]["hits"]) + 1))


def test_captions_are_found_for_an_image(place: Path) -> None:
    out = succeeds("search", place / "07.png", "--captions", "--space", "zero_shot", "--collection", place)
    assert out.endswith("  a red bicycle\n")
    message = refused("search", place / "07.png", "--captions", "--space", "second", "--collection", place)
    assert "has no vectors of captions. Make them: crosscue index --collection" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to look for: words, or an image."),
        (("a", "-", "a"), "the terms cancel out"),
        (("-fruit",), "'-fruit' is no option. To subtract words, write - fruit, with a space."),
        (("x", "--filter", "camra:Canon"), "there is no column 'camra'. Did you mean 'camera'? Choose from:"),
        (("x", "--filter", "taken>2024-13"), "taken: '2024-13' is no date (2024, 2024-06, 2024-06-30)."),
        (("x", "--where", "width > 3; DROP"), "is not one expression in SQL"),
        (("x", "--k", "0"), "k is 0; it must be 1 to 10,000."),
        (("x", "--space", "secnd"), "there is no space 'secnd'. Did you mean 'second'?"),
        (("x", "--rerank", "pairs"), "has no re-ranking 'pairs'. Leave --rerank out."),
        (("./gone.jpg",), "gone.jpg"),
        (("x", "--captions", "--camera", "canon"), "--camera is about images, and --captions finds captions"),
    ],
)
def test_bad_input_gets_one_sentence(place: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("search", *arguments, "--collection", place)


def test_a_folder_without_a_collection_names_the_command(tmp_path: Path) -> None:
    message = refused("search", "x", "--collection", tmp_path)
    assert f"{tmp_path}: no collection here. Make one: crosscue index FOLDER --collection {tmp_path}" in message


def test_a_missing_package_is_named_with_its_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    message = refused("search", "x", "--collection", place)
    assert "a collection needs the package lancedb: pip install 'crosscue[search]'" in message


def test_words_may_stand_between_options() -> None:
    words, options = separated(["a", "--k", "3", "+", "b", "--all", "--filter", "-format:gif", "c"], {"--all"}, set())
    assert (words, options) == (["a", "+", "b", "c"], ["--k=3", "--all=true", "--filter=-format:gif"])


def test_images_are_drawn_in_three_ways(place: Path) -> None:
    image = place / "07.png"
    assert drawn(image, "kitty").startswith("\x1b_Ga=T,f=100,r=8,m=0;iVBOR")
    assert drawn(image, "iterm").startswith("\x1b]1337;File=inline=1;")
    assert drawn(image, "blocks").count("▀") == 16 * 8
    assert "gone.png" in drawn(place / "gone.png", "blocks")
    assert (protocol_of("off"), protocol_of("auto"), protocol_of("kitty")) == (None, None, "kitty")


def test_a_collection_is_opened_searched_and_extended_in_python(tmp_path: Path) -> None:
    for number in range(6):
        paint(tmp_path / "photos" / f"{number}.png", number, 40)
    options = {"backbone": str(tiny.clip_folder()), "precision": "fp32"}
    made = crosscue.open(tmp_path / "my.crosscue", run="zero_shot", **options)
    made.add(tmp_path / "photos")
    assert len(made) == 6
    collection = crosscue.open(tmp_path / "my.crosscue", precision="fp32")
    hits = collection.search(tmp_path / "photos" / "3.png", k=2)
    assert Path(hits[0].path).name == "3.png"
    assert len(hits) == 2
    paint(tmp_path / "more" / "9.png", 99, 40)
    assert collection.add(tmp_path / "more")[0].counts.added == 1
    assert len(collection) == 7
    assert Path(collection.search([tmp_path / "more" / "9.png"], k=1)[0].path).name == "9.png"
    with pytest.raises(CollectionError, match="no collection here"):
        crosscue.open(tmp_path / "photos")


def test_adding_in_python_keeps_the_captions_of_the_source(tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "0.png", 0, 40)
    (tmp_path / "pairs.csv").write_text("image,caption\nphotos/0.png,a red bird\n")
    place, options = tmp_path / "c", ("--backbone", tiny.clip_folder(), "--precision", "fp32")
    source = ("--captions_from", tmp_path / "pairs.csv")
    succeeds("index", tmp_path / "photos", "--run", "zero_shot", "--collection", place, *source, *options)
    collection = crosscue.open(place, precision="fp32")
    assert collection.add()[0].counts.same == 1
    assert collection.search("a red bird", k=1)[0].captions == ["a red bird"]


def test_a_space_is_not_added_beside_an_indexing_run(tmp_path: Path) -> None:
    options = {"backbone": str(tiny.clip_folder()), "precision": "fp32"}
    crosscue.open(tmp_path / "c", run="zero_shot", **options)
    with writing(tmp_path / "c"):
        crosscue.open(tmp_path / "c", run="zero_shot", **options)
        with pytest.raises(StorageError, match="another run is writing here"):
            crosscue.open(tmp_path / "c", run="zero_shot", name="other", **options)


def test_names_and_captions_send_nothing_to_the_terminal() -> None:
    hit = Hit("1", "a\x1b[31m\nb.png", 0.5, None, likely=True, captions=["\x9b2J\u2028 café"])
    line = line_of(1, hit)
    assert "a\\x1b[31m\\nb.png" in line
    assert "\\x9b2J\\u2028 café" in line


def test_paths_below_the_line_are_said_to_be_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hits = crosscue.open(place, precision="fp32").search("x", k=3, all=True)
    Output(paths=True).hits(replace(hits, likely_count=0))
    assert "nothing here looks like that; closest:" in capsys.readouterr().err
    Output(paths=True).hits(replace(hits, likely_count=3))
    assert capsys.readouterr().err == ""
