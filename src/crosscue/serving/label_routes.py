"""Marks: right or wrong images for a text, their export as pairs, and the way to a better model."""

from __future__ import annotations

import csv
import io
import json
import shlex
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, Field

from crosscue.data.writing import row_of
from crosscue.errors import DataError, StorageError
from crosscue.search.gain import gain
from crosscue.search.labels import FEWEST_HELD_OUT, Label, add_labels, labels_of, pairs_of_labels, remove_label, splits
from crosscue.search.uncertainty import most_uncertain
from crosscue.serving.failures import Refusal
from crosscue.serving.holdings import IDENTIFIER, answered, hidden
from crosscue.serving.image_routes import held
from crosscue.serving.search_routes import searcher_of
from crosscue.serving.terms import UNREADABLE, unreadable
from crosscue.storage import json_line

router = APIRouter(prefix="/api/labels", tags=["labels"])
FEWEST = 10
"""Marked texts with which adapting can begin."""
Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class LabelRequest(BaseModel):
    """Body of POST /api/labels."""

    text: Text
    id: str
    relevant: bool
    space: str | None = None
    note: Annotated[str, Field(max_length=2_000)] | None = None


class LabelName(BaseModel):
    """Body of DELETE /api/labels."""

    text: Text
    id: str
    space: str | None = None


class NextRequest(BaseModel):
    """Body of POST /api/labels/next."""

    texts: Annotated[list[Text], Field(max_length=200)]
    space: str | None = None
    k: Annotated[int, Field(ge=1, le=100)] = 5


@router.post("", summary="Mark an image as right or wrong for a text")
def mark(body: LabelRequest, request: Request) -> dict[str, Any]:
    """Adds a mark. It is on the disk when the answer comes."""
    holdings, place = held(request, body.space)
    if not body.text.strip():
        raise Refusal(422, "text has no words.", code="empty_text", param="text")
    readable([body.text], "text")
    holdings.row(place, body.id, ["id"])
    with kept():
        add_labels(place.collection, [Label(body.text.strip(), body.id, body.relevant, place.name, body.note)])
    return {"marked": True}


@router.delete("", summary="Remove a mark")
def unmark(body: LabelName, request: Request) -> dict[str, Any]:
    """Removes the mark of a text and an image."""
    _, place = held(request, body.space)
    with kept():
        known = IDENTIFIER.fullmatch(body.id) and remove_label(place.collection, body.text.strip(), body.id)
    if not known:
        raise Refusal(404, "there is no such mark.", code="unknown_mark", param="id")
    return {"marked": False}


@router.get("", summary="All marks, as JSON, JSON lines, CSV, or pairs for training", response_class=Response)
def marks(
    request: Request, format: Literal["json", "jsonl", "csv", "pairs"] = "json", space: str | None = None
) -> Response:
    """Returns the marks of a collection."""
    _, place = held(request, space)
    labels = labels_of(place.collection)
    rows: list[dict[str, Any]] = [
        {"text": label.text, "id": label.image, "relevant": label.relevant, "space": label.space, "note": label.note}
        for label in labels
    ]
    if format == "json":
        return Response(json.dumps({"labels": rows}, ensure_ascii=False), media_type="application/json")
    if format == "csv":
        table = io.StringIO()
        writer = csv.DictWriter(table, ["text", "id", "relevant", "space", "note"])
        writer.writeheader()
        writer.writerows(rows)
        return PlainTextResponse(table.getvalue(), media_type="text/csv; charset=utf-8")
    if format == "pairs":
        pairs, _ = pairs_of_labels(place.collection, labels)
        rows = [row_of(pair, pair.image.name) for pair in pairs]
    lines = "".join(map(json_line, rows))
    return PlainTextResponse(lines, media_type="application/x-ndjson")


@router.get("/advice", summary="What the marks are enough for, and the commands")
def advice(request: Request, space: str | None = None) -> dict[str, Any]:
    """Returns a line about the number of marks, and the commands from marks to a better model."""
    _, place = held(request, space)
    labels = labels_of(place.collection)
    folder = shlex.quote(str(place.collection.folder)) if request.app.state.absolute else "DIR"
    own = place.space.identity
    tower = f"--image_size {own.image_size}"
    if own.backbone != "starter":
        tower += f" --backbone {shlex.quote(own.backbone) if request.app.state.absolute else 'BACKBONE'}"
    marked = {label.text for label in labels if label.relevant}
    split_of = splits(labels)
    held_out = sum(split_of[text] == "test" for text in marked)
    commands = [
        f"crosscue labels {folder} --out pairs.jsonl",
        f"crosscue adapt --data pairs.jsonl --out runs/marked {tower}",
        "crosscue evaluate runs/marked --data pairs.jsonl",
        f"crosscue index --run runs/marked --collection {folder}",
        f"crosscue labels {folder} --gain marked",
    ]
    return {
        "advice": advice_of(len(marked), held_out),
        "texts": len(marked),
        "held_out": held_out,
        "commands": commands,
    }


@router.get("/gain", summary="Recall of the held-out marks with two models")
def gained(request: Request, before: str, after: str) -> dict[str, Any]:
    """Returns recall@10 of each held-out text in both spaces, and the interval of the difference."""
    sides = [searcher_of(request, name) for name in (before, after)]
    if sides[0][1].collection is not sides[1][1].collection:
        raise Refusal(422, "both spaces must belong to one collection.", code="two_collections", param="after")
    with answered():
        labels = labels_of(sides[0][1].collection)
        try:
            return gain(labels, sides[0][0], sides[1][0]).to_dict()
        except DataError as error:
            raise Refusal(422, str(error), code="no_held_out_text") from error


@router.post("/next", summary="The texts that are worth a mark")
def to_mark(body: NextRequest, request: Request) -> dict[str, Any]:
    """Returns those texts without marks of which the model is least sure, each with the number of images it may mean."""
    searcher, place = searcher_of(request, body.space)
    readable(body.texts, "texts")
    with answered():
        found = most_uncertain(searcher, body.texts, labels_of(place.collection), body.k)
    return {"texts": [asdict(one) for one in found]}


def readable(texts: list[str], param: str) -> None:
    """Raises `Refusal` (422) for a text that no source of pairs could hold."""
    if any(map(unreadable, texts)):
        raise Refusal(422, f"{param} contains {UNREADABLE}", code="bad_text", param=param)


def kept() -> AbstractContextManager[None]:
    """Turns a disk that takes no marks, such as a read-only one, into a refusal."""
    message = (
        "marks cannot be kept here: the disk of the collection is full or read-only. The log of the server says why."
    )
    return hidden(StorageError, "marks", Refusal(409, message, code="marks_not_kept"))


def advice_of(texts: int, held_out: int) -> str:
    """Returns the advice for a number of texts with a right image, and the number of those that are held out."""
    if texts < FEWEST:
        have = "1 text has" if texts == 1 else f"{texts} texts have"
        return f"{have} a right image. Mark {FEWEST - texts} more, and adapting can begin."
    if held_out < FEWEST_HELD_OUT:
        return (
            f"{texts} texts have a right image, and {held_out} of them are held out. Adapting can begin, but below "
            f"{FEWEST_HELD_OUT} held-out texts its gain cannot be known."
        )
    return f"{texts} texts have a right image. {held_out} are held out, and the gain is measured on them."
