"""Judge and revise: the best text is kept, at most three rounds, and what two judges call invented goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from crosscue.data.pairs import ImageFile, Negative
from crosscue.knowledge.captions.acceptance import acceptance, as_markdown
from crosscue.knowledge.captions.drafting import Writing
from crosscue.knowledge.captions.images import begin_records
from crosscue.knowledge.captions.judging import Judging
from crosscue.knowledge.captions.negatives import DEFECTS, negatives_audit
from crosscue.knowledge.captions.pipeline import Recipe, describe, write_pairs
from crosscue.knowledge.captions.record import CaptionRecord
from crosscue.knowledge.endpoint import Endpoint
from tests.knowledge.conftest import Serve, draw
from tests.knowledge.server import Received, Scripted

DRAFT = "A brown dog with a red hat sits on a rug."


def verdict(score: int, *hallucinations: str, revised: str = "", coverage: int | None = None) -> str:
    fields: dict[str, Any] = {"faithfulness": score, "coverage": coverage or score, "fluency": 5, "missing": []}
    return json.dumps({**fields, "hallucinations": list(hallucinations), "revised": revised})


def revision(number: int) -> str:
    return f"A brown dog sits on a rug of kind {number} in the sun."


def caption_of(folder: Path, script: Scripted, rounds: int = 3, second: bool = False, **options: Any) -> CaptionRecord:
    """One image through all stages."""
    image = ImageFile(draw(folder / "a.jpg", "red", 50))
    other = ImageFile(draw(folder / "b.jpg", "blue", 51))
    found = [("a.jpg", image, "Basset_Hound", None), ("b.jpg", other, "beagle", None)]
    endpoint = {"base_url": script.url, "retries": 0}
    recipe = Recipe(
        Endpoint(model="writer", **endpoint),
        Endpoint(model="judge", **endpoint) if rounds else None,
        Endpoint(model="second", **endpoint) if second else None,
        Writing(max_tokens=30, **options),
        Judging(rounds, second_share=1.0),
    )
    records, images = begin_records(
        found, folder, dataset="d", domain="pets", aliases={}, provenance=recipe.provenance()
    )
    done = asyncio.run(describe(records, images, folder / "out", recipe, token_count=lambda text: len(text.split())))
    return done.records[0]


def model(judge: Any, second: Any = None, writer: Any = DRAFT, rewrite: str = "") -> Any:
    """A server with three models; the judge's answers come in order."""
    given: dict[str, int] = {}

    def answer(received: Received, number: int) -> Any:
        name, question = received.body["model"], received.question
        if received.images() and received.images()[0].width != 50:
            return verdict(5) if name != "writer" else "A beagle with a long tail stands there quite alone."
        if "do not support" in question or "does not support these words" in question:
            return rewrite
        replies = {"writer": writer, "judge": judge, "second": second}[name]
        if isinstance(replies, list):
            given[name] = given.get(name, 0) + 1
            return replies[min(given[name], len(replies)) - 1]
        return replies

    return answer


def test_a_good_draft_is_kept(serve: Serve, tmp_path: Path) -> None:
    script = serve(model(verdict(4, revised="something else entirely that is not needed")))
    record = caption_of(tmp_path, script)
    assert record.caption == "A brown Basset Hound with a red hat sits on a rug."
    assert [entry.outcome for entry in record.rounds] == ["accepted"] and record.flags == ()
    assert record.drafts[0].model == "writer" and record.drafts[0].template == "scene"


def test_a_good_score_with_an_invention_is_revised(serve: Serve, tmp_path: Path) -> None:
    script = serve(model([verdict(5, "a red hat", revised=revision(1)), verdict(5)]))
    record = caption_of(tmp_path, script)
    assert [entry.outcome for entry in record.rounds] == ["revised", "accepted"]
    assert record.caption == "A brown Basset Hound sits on a rug of kind 1 in the sun."


def test_three_rounds_at_most_and_the_best_text_is_kept(serve: Serve, tmp_path: Path) -> None:
    judge = [verdict(score, revised=revision(n)) for n, score in enumerate((2, 3, 1, 5), 1)]
    record = caption_of(tmp_path, serve(model(judge)))
    assert [entry.score for entry in record.rounds] == [2, 3, 1]
    assert record.caption == "A brown Basset Hound sits on a rug of kind 1 in the sun."  # the text that got 3
    assert record.flags == ("low_score",)


@pytest.mark.parametrize(
    ("revised", "outcome"),
    [
        (DRAFT.upper(), "rejected: repeats an earlier text"),
        ("A dog.", "rejected: 2 tokens are fewer than 8"),
        ("so " * 31, "rejected: 31 tokens are more than 30"),
        ("A brown beagle with no hat sits on a rug.", "rejected: names another class (beagle)"),
    ],
)
def test_bad_revisions_end_the_rounds(serve: Serve, tmp_path: Path, revised: str, outcome: str) -> None:
    record = caption_of(tmp_path, serve(model(verdict(3, revised=revised))))
    assert [entry.outcome for entry in record.rounds] == [outcome]
    assert record.caption == "A brown Basset Hound with a red hat sits on a rug."
    assert record.flags == ("low_score",)


def test_what_two_judges_call_invented_is_rewritten_away(serve: Serve, tmp_path: Path) -> None:
    judges = verdict(4, "a red hat", revised=DRAFT), verdict(2, "red hat", "brown")
    script = serve(model(*judges, rewrite="A brown dog sits there on a rug."))
    record = caption_of(tmp_path, script, second=True)
    assert record.caption == "A brown Basset Hound sits there on a rug."
    rewrite = [received for received in script.log if "does not support these words" in received.question]
    assert len(rewrite) == 1 and "'red hat'" in rewrite[0].question and "'brown'" not in rewrite[0].question
    report = acceptance([record], max_tokens=30, tokens_of="words", negatives={})
    assert (report.judged_twice, report.judges_agree) == (1, 1.0)
    stubborn = caption_of(tmp_path / "again", serve(model(*judges, rewrite=DRAFT)), second=True)
    assert "hallucination" in stubborn.flags


def test_no_judge(serve: Serve, tmp_path: Path) -> None:
    script = serve(model(None))
    record = caption_of(tmp_path, script, rounds=0)
    assert record.rounds == () and record.caption == "A brown Basset Hound with a red hat sits on a rug."
    assert {received.body["model"] for received in script.log} == {"writer"}


def test_the_hint_is_a_switch(serve: Serve, tmp_path: Path) -> None:
    script = serve(model(verdict(5)))
    record = caption_of(tmp_path, script, draft_label_hint=True)
    assert record.drafts[0].template == "subcategory"
    assert "shows: Basset Hound." in script.log[0].question or "shows: beagle." in script.log[0].question


def test_a_refusing_writer_and_judge(serve: Serve, tmp_path: Path) -> None:
    refused = caption_of(tmp_path, serve(model(verdict(5), writer="I'm sorry, I can't.")))
    assert (refused.caption, refused.flags) == ("", ("refused",))
    silent = caption_of(tmp_path / "2", serve(model("I cannot judge this.")))
    assert silent.flags == ("judge_refused",) and silent.caption.startswith("A brown Basset Hound")


def test_a_damaged_image_is_flagged_and_the_run_goes_on(serve: Serve, tmp_path: Path) -> None:
    script = serve(model(verdict(5)))
    path = draw(tmp_path / "a.jpg", "red", 50)
    path.write_bytes(path.read_bytes()[:200])
    recipe = Recipe(Endpoint(base_url=script.url, model="writer"), judging=Judging(0))
    found = [
        ("a.jpg", ImageFile(path), "beagle", None),
        ("b.jpg", ImageFile(draw(tmp_path / "b.jpg", "red", 51)), "beagle", None),
    ]
    records, images = begin_records(found, tmp_path, dataset="d", domain="pets", aliases={}, provenance={})
    done = asyncio.run(describe(records, images, tmp_path / "out", recipe, token_count=lambda text: len(text.split())))
    assert done.records[0].flags == ("unreadable",) and done.records[0].caption == ""
    assert done.records[1].caption == "A beagle with a long tail stands there quite alone."
    assert len(script.log) == 1


def test_duplicates_that_stay_keep_a_group(serve: Serve, tmp_path: Path) -> None:
    script = serve(lambda received, number: "A dog with a long tail stands there quite alone.")
    found = [(f"{n}.jpg", ImageFile(draw(tmp_path / f"{n}.jpg", "red", 50 + n)), "beagle", None) for n in range(3)]
    recipe = Recipe(Endpoint(base_url=script.url, model="writer"), judging=Judging(0))
    records, images = begin_records(found, tmp_path, dataset="d", domain="pets", aliases={}, provenance={})
    done = asyncio.run(describe(records, images, tmp_path / "out", recipe, token_count=lambda text: len(text.split())))
    assert len({record.dup_group for record in done.records}) == 1
    assert all(record.flags == ("duplicate",) for record in done.records)
    report = acceptance(done.records, max_tokens=71, tokens_of="words", negatives={})
    assert (report.duplicate_rows, report.duplicate_groups, report.largest_group) == (3, 1, 3)
    assert not report.failures


def test_the_audit_finds_every_defect() -> None:
    fields = {"dataset": "d", "image_path": "a.jpg", "image_sha256": "0", "class_name": "beagle"}
    negatives = (
        Negative("a BEAGLE sits", "attribute"),  # equal to the caption
        Negative("A beagle lies there for hours and hours on end.", "category"),  # true class still there, too long
        Negative("A pug sits.", "attribute"),  # true class gone
        Negative("A pug, sits.", "category"),  # repeated
        Negative("A cat sits.", "category"),  # another caption
    )
    records = [
        CaptionRecord(id="1", caption="A beagle sits.", negatives=negatives, **fields),
        CaptionRecord(id="2", caption="A cat sits.", **fields),
    ]
    found = negatives_audit(records, lambda text: len(text.split()), 6)
    assert found["defects"] == dict.fromkeys(DEFECTS, 1)
    assert found["counts"] == {"attribute": 2, "category": 3, "captions without any": 1}
    assert negatives_audit([records[1]], len, 6) == {}


def test_the_report_says_what_is_wrong(tmp_path: Path) -> None:
    fields = {"dataset": "d", "image_path": "a.jpg", "image_sha256": "0", "class_name": "beagle"}
    provenance = {"writer": {"model": "m"}, "judge": {"model": "m"}}
    records = [
        CaptionRecord(id="good", caption="A beagle sits.", n_tokens=4, provenance=provenance, **fields),
        CaptionRecord(id="lost", caption="A dog sits.", n_tokens=99, **fields),
        CaptionRecord(id="none", flags=("refused",), **fields),
        CaptionRecord(id="gone", flags=("dropped",), **fields),
    ]
    negatives = {"counts": {"category": 2}, "defects": {"equal to the positive": 1, "repeated": 0}}
    report = acceptance(
        records, max_tokens=71, tokens_of="x", negatives=negatives, clip_scores=[0.5, 0.7], clip_score_of="y"
    )
    assert report.failures == [
        "1 captions do not name their class, e.g. lost",
        "1 captions are over 71 tokens, e.g. lost",
        "1 images have no caption, e.g. none",
        "negatives: 1 equal to the positive",
    ]
    assert report.class_present == 0.5 and report.judge_is_writer
    page = as_markdown(report, "d")
    assert page.startswith("# d: not accepted") and "same model" in page and "| refused | 1 |" in page
    assert json.loads(json.dumps(report.to_dict()))["clip_score"]["mean"] == pytest.approx(0.6)
    assert write_pairs(tmp_path / "captions.jsonl", records) == 2
