"""Collections: made, opened, refused and refreshed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from crosscue.errors import CollectionError
from crosscue.search.collection import Collection, create_collection, open_collection
from crosscue.search.schema import Record, identifier, require_vectors, rows, vectors_of
from crosscue.search.spaces import VectorIndex
from tests.search.conftest import WIDTH, ColourEncoder, unit


def record(number: int) -> Record:
    path = f"trips/{number}.jpg"
    return Record(
        identifier("photos", path.encode()), "photos", path, None, "trips", f"{number}.jpg", "c", 1, 2, "jpeg", 3, 4
    )


def vectors(count: int) -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((count, WIDTH)))


def test_rows_come_back_from_a_collection_that_is_opened_again(collection: Collection, encoder: ColourEncoder) -> None:
    collection.add_space("mine", encoder.identity)
    collection.table("mine").add(rows([record(n) for n in range(5)], vectors(5), WIDTH))
    again = open_collection(collection.folder)
    assert again.space().identity == encoder.identity
    table = again.table().to_arrow()
    assert table["path"].to_pylist() == [f"trips/{n}.jpg" for n in range(5)]
    assert np.array_equal(vectors_of(table), vectors(5))
    assert table["hubness"].to_pylist() == [None] * 5


def test_refresh_sees_the_rows_and_spaces_of_another_process(collection: Collection, encoder: ColourEncoder) -> None:
    collection.add_space("mine", encoder.identity)
    reader = open_collection(collection.folder)
    assert reader.table().count_rows() == 0
    collection.table("mine").add(rows([record(0)], vectors(1), WIDTH))
    collection.add_space("base", ColourEncoder("b").identity)
    reader.refresh()
    assert reader.table("mine").count_rows() == 1
    assert reader.space().name == "base"


def test_another_run_under_the_same_name_is_refused_with_a_way_out(
    collection: Collection, encoder: ColourEncoder
) -> None:
    collection.add_space("mine", encoder.identity)
    assert collection.add_space("mine", encoder.identity).name == "mine"
    with pytest.raises(CollectionError, match=r"'mine' was made by run aaaaaaaa .* this is bbbbbbbb .*--replace"):
        collection.add_space("mine", ColourEncoder("b").identity)
    collection.drop_space("mine")
    assert collection.add_space("mine", ColourEncoder("b").identity).identity.run == "b" * 64


@pytest.mark.parametrize("name", ["", "a b", "../x", "a.captions", "x" * 65])
def test_a_name_that_is_no_file_is_refused(collection: Collection, encoder: ColourEncoder, name: str) -> None:
    with pytest.raises(CollectionError, match="no name for a space"):
        collection.add_space(name, encoder.identity)


def test_a_folder_without_a_collection_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"no collection here\. Make one: crosscue index FOLDER --collection"):
        open_collection(tmp_path)


def test_a_newer_format_a_damaged_file_and_a_missing_table_are_refused(
    collection: Collection, encoder: ColourEncoder
) -> None:
    collection.add_space("mine", encoder.identity)
    file = collection.folder / "collection.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps(written | {"format": 2}))
    with pytest.raises(CollectionError, match=r"newer crosscue \(format 2\)"):
        open_collection(collection.folder)
    file.write_text(json.dumps({"format": 1}))
    with pytest.raises(CollectionError, match="not as written"):
        open_collection(collection.folder)
    file.write_text(json.dumps(written))
    shutil.rmtree(collection.table_folder("mine"))
    with pytest.raises(CollectionError, match="--repair"):
        open_collection(collection.folder).table()


def test_roots_have_names_and_a_folder_in_a_root_is_a_part_of_it(collection: Collection, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "photos", tmp_path / "b" / "photos"
    (first / "2024").mkdir(parents=True)
    second.mkdir(parents=True)
    assert collection.add_root(first) == ("photos", Path())
    assert collection.add_root(second) == ("photos-2", Path())
    assert collection.add_root(first / "2024") == ("photos", Path("2024"))
    with pytest.raises(CollectionError, match="contains"):
        collection.add_root(tmp_path / "a")
    assert collection.file({"root": "photos-2", "path": "x.jpg", "raw": None}) == second / "x.jpg"
    name = b"caf\xe9.jpg"
    assert os.fsencode(collection.file({"root": "photos", "path": "caf?.jpg", "raw": name})).endswith(name)


def test_images_can_be_moved_with_the_collection_in_them(tmp_path: Path, encoder: ColourEncoder) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    made = create_collection(photos / ".crosscue")
    made.add_root(photos)
    made.save()
    photos.rename(tmp_path / "moved")
    assert open_collection(tmp_path / "moved").roots == {"photos": tmp_path / "moved"}


def test_vectors_of_another_width_or_not_finite_are_refused_before_lance_sees_them() -> None:
    with pytest.raises(CollectionError, match="vectors of 16 numbers"):
        require_vectors(np.ones((1, 15), np.float32), WIDTH, ["x"])
    bad = np.ones((3, WIDTH), np.float32)
    bad[1, 0] = np.nan
    with pytest.raises(CollectionError, match=r"second\.jpg: its vector is not finite"):
        require_vectors(bad, WIDTH, ["first.jpg", "second.jpg", "third.jpg"])


def test_a_query_for_many_results_scores_at_least_four_times_as_many() -> None:
    index = VectorIndex(64, 100_000, 32)
    assert [index.pool(k) for k in (10, 50, 100)] == [200, 200, 400]


def test_captions_have_a_table_of_their_own(collection: Collection, encoder: ColourEncoder) -> None:
    collection.add_space("mine", encoder.identity)
    assert collection.captions_table() is None
    collection.add_captions("mine")
    assert collection.captions_table().count_rows() == 0
    collection.drop_space("mine")
    assert not collection.table_folder("mine.captions").exists()


def test_a_forked_process_is_refused(collection: Collection, encoder: ColourEncoder) -> None:
    collection.add_space("mine", encoder.identity)
    child = os.fork()
    if child == 0:
        try:
            open_collection(collection.folder).table()
        except CollectionError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
