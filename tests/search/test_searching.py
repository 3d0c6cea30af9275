"""Search in a space: order, words, filters, copies, the line, re-ranking, and two spaces side by side."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lancedb")

from crosscue.encoding.hubness import TextBank
from crosscue.encoding.line import Line
from crosscue.encoding.query import EmbeddedQuery, Term
from crosscue.errors import CollectionError, MethodError, OptionError
from crosscue.search import searching
from crosscue.search.candidates import ROWS, Candidates, candidates
from crosscue.search.collection import Collection, open_collection
from crosscue.search.fusion import fused
from crosscue.search.indexing import Indexing, index, targets_of, walks_of, writing
from crosscue.search.likely import likely_images
from crosscue.search.request import Request
from crosscue.search.schema import vectors_of
from crosscue.search.searching import Searcher, compared
from crosscue.search.shipped import shipped_texts
from tests.search.conftest import ColourEncoder, paint

IMAGES = 70


class Reranker(ColourEncoder):
    """A run with a mode of re-ranking that turns the order around."""

    rerank_modes = ("pairs",)

    def rerank(self, mode: str, text: str, pixels: np.ndarray, plain: np.ndarray) -> np.ndarray:
        assert pixels.shape[1:] == (3, 8, 8)
        return -plain

    def uncertainty(self, scores: np.ndarray) -> float:
        assert (np.diff(scores) <= 0).all()
        return 0.25


def add(place: Path, encoder: ColourEncoder, name: str, folder: Path) -> Collection:
    with writing(place) as collection:
        targets = targets_of(collection, [folder])
        space = collection.add_space(name, encoder.identity)
        index(collection, space, lambda: encoder, walks_of(collection, targets, Indexing().scan), Indexing(), {})
        return collection


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Seventy images, of which 3 has a file of the same content and 7 lies in a folder; two have captions."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    for number in range(IMAGES):
        paint(folder / f"{number:02}.png", number)
    shutil.copy(folder / "03.png", folder / "twin.png")
    (folder / "trips").mkdir()
    (folder / "07.png").rename(folder / "trips" / "harbour at night.png")
    (folder / "11.txt").write_text("A red bicycle against a wall")
    (folder / "12.txt").write_text("two bicycles; DROP TABLE x")
    place = folder.parent / "my.crosscue"
    add(place, ColourEncoder("a", bank=True), "a", folder)
    return add(place, ColourEncoder("b"), "b", folder)


@pytest.fixture
def searcher(opened: Collection) -> Searcher:
    return Searcher(opened, ColourEncoder("a", bank=True), "a")


def names(hits: object) -> list[str]:
    return [Path(hit.path).name for hit in hits]


ALL = Request(all=True, text="off", group=False, normalise="off")


def test_hits_are_those_of_numpy(searcher: Searcher) -> None:
    table = searcher.collection.table("a").search().limit(1000).to_arrow()
    query = searcher.encoder.encode_texts(["a dog"]).vectors[0]
    scores = dict(zip(table["id"].to_pylist(), (vectors_of(table) @ query).tolist(), strict=True))
    best = sorted(scores, key=lambda one: -scores[one])[:20]
    for exact in (True, False):
        hits = searcher.search([Term("a dog")], replace(ALL, k=20, exact=exact))
        assert [hit.id for hit in hits] == best
        assert [hit.score for hit in hits] == pytest.approx([scores[one] for one in best], abs=1e-5)
        assert [hit.vector_rank for hit in hits] == list(range(1, 21))


@pytest.mark.parametrize("text", ["off", "auto"])
def test_hits_from_memory_are_those_from_the_disk(searcher: Searcher, text: str) -> None:
    kept, request = searcher.known(), replace(ALL, text=text, k=12, group=True)
    assert kept.resident is not None and len(kept.resident.rows) == IMAGES + 1
    found = [searcher.search([Term("bicycle")], request)]
    searcher._known = replace(kept, resident=None)
    found.append(searcher.search([Term("bicycle")], request))
    memory, disk = ([(hit.id, round(hit.score, 5), hit.text_rank) for hit in hits] for hits in found)
    assert memory == disk and len(memory) == 12
    assert any(hit.text_rank for hit in found[0]) == (text == "auto")


def test_memory_is_read_again_when_the_table_changes(opened: Collection, tmp_path: Path) -> None:
    shutil.copytree(opened.folder, tmp_path / "copy.crosscue")
    collection = open_collection(tmp_path / "copy.crosscue")
    searcher = Searcher(collection, ColourEncoder("a", bank=True), "a")
    first = searcher.search([Term("a dog")], ALL).hits[0]
    collection.table("a").delete(f"id = '{first.id}'")
    assert first.id not in {hit.id for hit in searcher.search([Term("a dog")], replace(ALL, k=IMAGES))}


def test_an_image_finds_itself_and_its_twin_is_shown_once(searcher: Searcher) -> None:
    image = searcher.collection.roots["photos"] / "03.png"
    hits = searcher.search([Term(image)], Request(k=3))
    first = hits[0]
    assert first.score == pytest.approx(1, abs=1e-4)
    assert sorted([first.path, *first.copies]) == [str(image), str(image.with_name("twin.png"))]
    assert first.likely
    both = searcher.search([Term(image)], Request(k=3, group=False))
    assert {Path(both[0].path).name, Path(both[1].path).name} == {"03.png", "twin.png"}


def test_many_copies_of_the_nearest_image_hide_no_other(tmp_path: Path, encoder: ColourEncoder) -> None:
    """More copies than the rows that are read at first."""
    for number in range(6):
        paint(tmp_path / "photos" / f"{number}.png", number)
    for number in range(ROWS + 10):
        shutil.copy(tmp_path / "photos" / "3.png", tmp_path / "photos" / f"copy {number}.png")
    searcher = Searcher(add(tmp_path / "c", encoder, "mine", tmp_path / "photos"), encoder)
    hits = searcher.search([Term(tmp_path / "photos" / "3.png")], Request(k=6, all=True))
    assert [len(hit.copies) for hit in hits] == [ROWS + 10, 0, 0, 0, 0, 0]


def test_words_are_fused_with_the_vector_and_name_their_field(searcher: Searcher) -> None:
    hits = searcher.search([Term("red bicycles")], Request(k=100, all=True))
    (found,) = [hit for hit in hits if hit.text_rank]
    assert (Path(found.path).name, found.matched, found.text_rank, found.likely) == ("11.png", "caption", 1, True)
    assert sorted(names(searcher.search([Term("bicycle")], Request(text="only")))) == ["11.png", "12.png"]
    night = searcher.search([Term("harbour night")], Request(text="only"))[0]
    assert night.matched == "name"
    assert searcher.search([Term("trips")], Request(text="only"))[0].matched == "folder"
    assert names(searcher.search([Term("zzz")], Request(text="only", all=True))) == []
    assert searcher.search([Term("red bicycles")], Request(text="off", all=True, k=100))[0].text_rank is None


def test_reciprocal_ranks_add_up() -> None:
    assert list(fused([5, 6, 7], [7, 8])) == [7, 5, 6, 8]
    assert fused([5, 6, 7], [7, 8])[7] == pytest.approx(1 / 63 + 1 / 61)


def test_a_filter_and_sql_hold_for_both_searches(searcher: Searcher) -> None:
    assert names(searcher.search([Term("bicycle")], Request(filter="name:11", all=True))) == ["11.png"]
    assert names(searcher.search([Term("x")], Request(filter="folder:trips", all=True))) == ["harbour at night.png"]
    assert names(searcher.search([Term("x")], Request(where="name = '12.png'", all=True))) == ["12.png"]
    assert names(searcher.search([Term("x")], Request(filter='caption:"; DROP"', all=True))) == ["12.png"]
    assert len(searcher.search([Term("x")], Request(filter="width>99", all=True))) == 0
    for wrong in ("nme = 3", "width / 0 > 1", "cast(name as int) > 1"):
        with pytest.raises(OptionError, match=re.escape(f"--where '{wrong}' cannot be read or computed as SQL")):
            searcher.search([Term("x")], Request(where=wrong))


def test_only_likely_hits_are_shown_unless_there_are_none(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = searcher.search([Term("x")], replace(ALL, k=IMAGES))
    assert hits.background is not None
    z = [(hit.score - hits.background.mean) / hits.background.spread for hit in hits]
    assert [hit.z for hit in hits] == pytest.approx(z, abs=2e-3)
    monkeypatch.setattr(Searcher, "line", Line(z[4] - 0.01))
    few = searcher.search([Term("x")], Request(text="off", group=False, normalise="off"))
    assert (len(few), few.likely_count) == (5, 5)
    assert searcher.search([Term("x")], replace(ALL, k=8)).likely_count == 5
    monkeypatch.setattr(Searcher, "line", Line(99))
    none = searcher.search([Term("x")], Request(text="off", k=4))
    assert (len(none), none.likely_count) == (4, 0)


def test_the_correction_of_hubness_changes_the_order_and_no_score(opened: Collection) -> None:
    encoder = ColourEncoder("a", bank=True)
    searcher = Searcher(opened, encoder, "a")
    plain = searcher.search([Term("x")], replace(ALL, k=IMAGES))
    corrected = searcher.search([Term("x")], replace(ALL, k=IMAGES, normalise="on"))
    table = opened.table("a").search().limit(1000).to_arrow()
    hubness = dict(zip(table["id"].to_pylist(), encoder.bank.hubness(vectors_of(table)).tolist(), strict=True))
    of = {hit.id: hit.score for hit in plain}
    assert {hit.id: hit.score for hit in corrected if hit.id in of} == {
        hit.id: of[hit.id] for hit in corrected if hit.id in of
    }
    gaps = [hit.score - hubness[hit.id] for hit in corrected if hit.likely]
    assert gaps == sorted(gaps, reverse=True)
    assert (plain.normalised, corrected.normalised) == (False, True)
    auto = replace(ALL, normalise="auto")
    assert not searcher.search([Term("x")], auto).normalised
    encoder.bank = TextBank(encoder.bank.vectors, encoder.bank.beta, helps=True)
    assert searcher.search([Term("x")], auto).normalised
    image = opened.roots["photos"] / "03.png"
    assert not searcher.search([Term(image)], auto).normalised


def test_a_run_without_a_bank_is_corrected_by_the_shipped_texts(opened: Collection) -> None:
    encoder = ColourEncoder("b")
    table = opened.table("b").search().limit(1000).to_arrow()
    shipped = TextBank(encoder.encode_texts(shipped_texts()).vectors, 20.0)
    assert len(shipped.vectors) == 200
    assert np.allclose(table["hubness"].to_numpy(), shipped.hubness(vectors_of(table)), atol=1e-5)
    searcher = Searcher(opened, encoder, "b")
    assert searcher.search([Term("x")], replace(ALL, normalise="on")).normalised
    assert not searcher.search([Term("x")], replace(ALL, normalise="auto")).normalised


def test_first_hits_are_reranked_and_the_cosine_stays(opened: Collection) -> None:
    searcher = Searcher(opened, Reranker("b"), "b")
    plain = searcher.search([Term("x")], replace(ALL, k=6))
    again = searcher.search([Term("x")], replace(ALL, k=6, rerank="pairs", top=4))
    places = sorted(range(6), key=lambda place: (not plain[place].likely, place))
    assert places == list(range(6))
    assert {hit.id for hit in again[:4]} == {hit.id for hit in plain[:4]}
    firsts = [hit for hit in again if hit.reranked is not None]
    assert len(firsts) == 4
    for hit in firsts:
        assert hit.reranked == pytest.approx(-hit.score, abs=1e-4)
    assert again.uncertainty == 0.25
    with pytest.raises(MethodError, match=r"has no re-ranking 'pair'\. Did you mean 'pairs'"):
        searcher.search([Term("x")], Request(rerank="pair"))
    with pytest.raises(OptionError, match="--rerank needs words"):
        searcher.search([Term("x"), Term("y", -0.5)], Request(rerank="pairs"))
    with pytest.raises(MethodError, match="Leave --rerank out"):
        Searcher(opened, ColourEncoder("a"), "a").search([Term("x")], Request(rerank="pairs"))


def test_rows_that_another_process_changes_meanwhile_are_read_again(
    tmp_path: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        paint(tmp_path / "photos" / f"{number}.png", number)
    collection = add(tmp_path / "c", encoder, "mine", tmp_path / "photos")
    changes = iter([True, True, False])

    def changing(*arguments: object, **options: object) -> Candidates:
        found = candidates(*arguments, **options)
        if next(changes):
            table = collection.table()
            table.merge_insert("id").when_matched_update_all().execute(table.to_arrow())
        return found

    monkeypatch.setattr(searching, "candidates", changing)
    hits = Searcher(collection, encoder).search([Term("one")], Request(k=5, all=True))
    assert len(hits) == 5


def test_a_collection_that_is_deleted_or_damaged_meanwhile_is_named_as_such(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    paint(tmp_path / "photos" / "0.png", 0)
    searcher = Searcher(add(tmp_path / "c", encoder, "mine", tmp_path / "photos"), encoder)
    searcher.search([Term("one")])
    shutil.rmtree(tmp_path / "c" / "tables")
    with pytest.raises(CollectionError, match=r"cannot be read\. A power cut can damage it\. Repair it: .* --repair"):
        searcher.search([Term("one")])
    shutil.rmtree(tmp_path / "c")
    with pytest.raises(CollectionError, match="no collection here"):
        searcher.search([Term("one")])


def test_two_spaces_are_compared(opened: Collection) -> None:
    sides = [Searcher(opened, ColourEncoder(name), name).search([Term("x")], replace(ALL, k=10)) for name in "ab"]
    left, right = compared(*sides)
    places = {hit.id: place for place, hit in enumerate(right, 1)}
    assert [hit.other_rank for hit in left] == [places.get(hit.id) for hit in left]
    assert [hit.id for hit in left] != [hit.id for hit in right]


@pytest.mark.parametrize(
    ("query", "message"),
    [([], "say what to look for"), ([Term(" ")], "say what to look for"), ([Term("a"), Term("a", -1)], "cancel out")],
)
def test_an_empty_query_is_refused(searcher: Searcher, query: list[Term], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        searcher.search(query)


def test_a_vector_that_is_no_vector_of_the_space_is_refused(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = searcher.encoder.encode_texts

    def damaged(texts: list[str]) -> object:
        found = encode(texts)
        return replace(found, vectors=found.vectors * np.nan)

    monkeypatch.setattr(searcher.encoder, "encode_texts", damaged)
    with pytest.raises(CollectionError, match="its vector is not finite"):
        searcher.search([Term("x")])


def test_without_a_name_the_last_whole_space_is_searched(opened: Collection) -> None:
    assert opened.space().name == "b"
    opened.spaces["b"] = replace(opened.spaces["b"], whole=False)
    assert opened.space().name == "a"
    opened.spaces["a"] = replace(opened.spaces["a"], whole=False)
    assert opened.space().name == "b"


def test_another_run_is_refused(opened: Collection) -> None:
    with pytest.raises(CollectionError, match=r"space 'a' was made by run aaaaaaaa .*, and this is bbbbbbbb"):
        Searcher(opened, ColourEncoder("b"), "a")


def test_hits_as_json_have_every_field(searcher: Searcher) -> None:
    record = searcher.search([Term("bicycle")], Request(k=2)).to_dict()
    assert record["hits"][0].keys() >= {"id", "path", "score", "z", "likely", "copies", "captions", "taken", "width"}
    assert set(record["took_ms"]) == {"encode", "search"}
    assert record["background"].keys() == {"mean", "spread"}


@pytest.mark.parametrize("text", ["auto", "only", "off"])
def test_all_likely_images_are_those_of_a_search(searcher: Searcher, text: str) -> None:
    table = searcher.collection.table(searcher.space.name)
    vector = vectors_of(table.search().where("name = '20.png'").to_arrow())[0]
    request = Request(k=100, text=text, group=False)
    hits = searcher.search_embedded(lambda: EmbeddedQuery(vector, 0), "bicycles", request)
    found = [Path(image.path).name for image in likely_images(searcher, vector, "bicycles", request)]
    assert sorted(found) == sorted(Path(hit.path).name for hit in hits if hit.likely)
    assert ("20.png" in found, "12.png" in found) == (text != "only", text != "off")
