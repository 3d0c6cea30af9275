"""The collections of a server: their spaces, and bringing one up to its folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from crosscue.search.collection import FAILURES
from crosscue.search.failures import read_failures
from crosscue.serving.failures import Refusal
from crosscue.serving.holdings import Holdings, Place

router = APIRouter(prefix="/api", tags=["collections"])


@router.get("/collections", summary="The collections and their spaces")
def collections(request: Request) -> dict[str, Any]:
    """Returns the number of images, the model and the measured recall of every space."""
    holdings: Holdings = request.app.state.holdings
    shown = []
    for title in holdings.folders:
        collection = holdings.collection(title)
        spaces = []
        for name, space in collection.spaces.items():
            own, measured = space.identity, space.measured
            spaces.append(
                {
                    "name": holdings.name_of(Place(collection, name)),
                    "images": Place(collection, name).count,
                    "unindexed": Place(collection, name).unindexed,
                    "method": own.method,
                    "run": own.run[:8],
                    "runtime": own.runtime,
                    "recall_at_10": min(measured.texts, measured.images) if measured else None,
                }
            )
        failures = len(read_failures(collection.folder / FAILURES))
        shown.append({"name": title, "spaces": spaces, "unreadable": failures})
    return {"collections": shown}


@router.post("/collections/{name}/refresh", summary="Bring a collection up to its folders", status_code=202)
def refresh(name: str, request: Request) -> dict[str, Any]:
    """Begins `crosscue index` in a process of its own. Only with a key, or from the server's own machine."""
    state = request.app.state
    if state.replica:
        message = (
            "this server is a replica and writes nothing but marks. Run crosscue index where the collection is kept."
        )
        raise Refusal(403, message, code="replica")
    if state.rules.keys is None and not state.absolute:
        raise Refusal(403, "this server may be told to read its folders only with a key.", code="not_allowed")
    folder: Path = state.holdings.collection(name).folder
    running: dict[str, subprocess.Popen[bytes]] = state.refreshing
    if name in running and running[name].poll() is None:
        raise Refusal(409, "the collection is being brought up to date already.", code="already_running")
    command = [sys.executable, "-c", "from crosscue.cli import main; main()", "index", "--collection", str(folder)]
    running[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return {"started": True}
