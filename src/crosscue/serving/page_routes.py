"""The page: a shell that shows results without JavaScript, its files, the login, and the list of the API."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from crosscue.errors import CrosscueError
from crosscue.search.candidates import lance
from crosscue.serving.failures import Refusal
from crosscue.serving.holdings import Holdings, Place, answered
from crosscue.serving.search_routes import SearchRequest, found
from crosscue.serving.security import COOKIE, WEEK, Rules
from crosscue.serving.service import Service

PAGE = Path(__file__).parent / "page"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LOOKS = 24
"""Images on the page before a search."""
SHOWN = 60
"""Results on the page that is drawn without JavaScript."""
router = APIRouter(include_in_schema=False)


@cache
def template(name: str) -> Template:
    """Returns a template of the page."""
    environment = Environment(
        loader=PackageLoader("crosscue.serving", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["modules"] = [name for name in sources() if name.endswith(".js")]
    return environment.get_template(name)


@router.get("/", response_class=HTMLResponse)
def page(request: Request, q: str = "", space: str | None = None, filter: str = "") -> HTMLResponse:
    """Returns the page. Before the models are loaded it is drawn without results."""
    rules: Rules = request.app.state.rules
    if rules.keys is not None and not request.scope["state"]["owner"]:
        return HTMLResponse(template("index.html.j2").render(signed_in=False, wrong_key=False, query=""), 401)
    holdings: Holdings = request.app.state.holdings
    absolute = request.app.state.absolute  # other machines see no path
    try:
        place = holdings.place(space or None)
        count, starts, shown_first = place.count, examples(place), some(place)
    except Refusal as refusal:
        text = template("index.html.j2").render(signed_in=True, failure=str(refusal), query="", filter="", spaces=[])
        return HTMLResponse(text, refusal.status, refusal.headers)
    shown: dict[str, Any] = {"hits": None, "status": ""}  # no hits: nothing was searched
    service: Service = request.app.state.service
    if q.strip() and service.ready:
        try:
            answer = found(request, SearchRequest(query=q, space=space or None, filter=filter or None, k=SHOWN))
            shown = {
                "hits": answer["hits"],
                "status": f"{answer['likely_count']} likely of {answer['images']:,} images",
            }
        except CrosscueError as error:
            shown["status"] = str(error)
    elif q.strip():
        shown["status"] = "The model is still loading."
    return HTMLResponse(
        template("index.html.j2").render(
            signed_in=True,
            query=q,
            filter=filter,
            space=holdings.name_of(place),
            spaces=holdings.names,
            folders={name: holdings.folder(name) if absolute else "DIR" for name in holdings.names},
            count=count,
            examples=starts,
            some=shown_first,
            **shown,
        )
    )


def examples(place: Place, number: int = 4) -> list[str]:
    """Returns a few captions of a space, to begin with."""
    query = place.table.search().where("array_length(captions) > 0").select(["captions"]).limit(40 * number)
    with answered(), lance(place.collection, place.space):
        rows = query.to_list()
    captions = (row["captions"][0].strip(" .") for row in rows)
    return [caption for caption in dict.fromkeys(captions) if len(caption) < 40][:number]


def some(place: Place) -> list[dict[str, Any]]:
    """Returns images from all over a space, in its order, for the page before a search."""
    count = place.count
    places = sorted({step * count // LOOKS for step in range(LOOKS)}) if count else []
    with answered(), lance(place.collection, place.space):
        return list(place.table.take_offsets(places).select(["id", "name", "content"]).to_list())


@router.get("/page/{name}", response_class=Response)
def files(name: str, request: Request) -> Response:
    """Returns a script, a style sheet or the icon."""
    content = sources().get(name)
    if content is None:
        raise Refusal(404, "there is no such file.", code="unknown_file")
    headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)


@cache
def sources() -> dict[str, bytes]:
    """Returns name -> content of the files of the page."""
    return {kept.name: kept.read_bytes() for kept in sorted(PAGE.iterdir()) if kept.suffix in TYPES}


@router.post("/login", response_class=HTMLResponse)
def login(request: Request, key: Annotated[str, Form(max_length=500)]) -> Response:
    """Gives a signed cookie for a key, because thumbnails cannot send one."""
    rules: Rules = request.app.state.rules
    name = rules.keys.owner(key.strip()) if rules.keys is not None else None
    if rules.keys is None or name is None:
        return HTMLResponse(template("index.html.j2").render(signed_in=False, wrong_key=True, query=""), 401)
    answer = RedirectResponse("/", 303)
    value = rules.keys.cookie(name, int(time.time()) + WEEK)
    answer.set_cookie(
        COOKIE, value, max_age=WEEK, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answer


@router.get("/docs", response_class=HTMLResponse)
def docs(request: Request) -> HTMLResponse:
    """Returns the list of the API."""
    api = request.app.openapi()

    def parts(route: dict[str, Any]) -> list[dict[str, Any]]:
        fields = [
            {"name": each["name"], "kind": kind(each["schema"]), "required": each.get("required", False)}
            for each in route.get("parameters", ())
        ]
        for body in route.get("requestBody", {}).get("content", {}).values():
            schema = api["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
            needed = schema.get("required", ())
            fields += [
                {"name": name, "kind": kind(part), "required": name in needed}
                for name, part in schema["properties"].items()
            ]
        return fields

    return HTMLResponse(template("docs.html.j2").render(api=api, parts=parts))


def kind(schema: dict[str, Any]) -> str:
    """Returns the type of a field in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(part) for part in schema["anyOf"] if part.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}" if "items" in schema else "list"
    return str(schema.get("type") or schema.get("$ref", "any").rpartition("/")[2])
