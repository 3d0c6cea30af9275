"""Spaces that are indexed while a server runs: their models are loaded when they are first searched."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from crosscue.encoding.encoder import Identity
from crosscue.serving.app import application
from crosscue.serving.holdings import Holdings
from crosscue.serving.security import Rules
from crosscue.serving.service import Service
from tests.serving.encoders import ColourEncoder, OtherEncoder

ENCODERS = {encoder.identity.run: encoder for encoder in (ColourEncoder, OtherEncoder)}


def opens(identity: Identity) -> ColourEncoder:
    return ENCODERS[identity.run]()


def best(asking: TestClient, space: str) -> str:
    """Return the name of the best hit, when the model is loaded."""
    until = time.monotonic() + 20
    body = {"query": "green", "space": space, "text": "off"}
    while (answer := asking.post("/api/search", json=body)).status_code != 200:
        assert answer.json()["error"]["code"] == "loading", answer.text
        assert asking.get("/readyz").status_code == 200 and time.monotonic() < until
    return str(answer.json()["hits"][0]["name"])


def test_a_new_space_and_one_that_another_run_made_are_searched_without_a_restart(
    painted: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(painted, tmp_path / "boards")
    app = application(Service({"base": ColourEncoder}), Holdings([folder]), Rules(), opens=opens)
    with TestClient(app, base_url="http://127.0.0.1:7878") as asking:
        while asking.get("/readyz").status_code != 200:
            pass
        assert best(asking, "base").startswith("green")
        assert best(asking, "other").startswith("blue")
        file = folder / ".crosscue" / "collection.json"
        made: dict[str, Any] = json.loads(file.read_text())
        made["spaces"]["base"]["identity"] = made["spaces"]["other"]["identity"]
        file.write_text(json.dumps(made))
        assert best(asking, "base").startswith("blue")


def test_a_model_that_cannot_be_loaded_is_tried_once(painted: Path, caplog: pytest.LogCaptureFixture) -> None:
    tried: list[str] = []

    def fails(identity: Identity) -> ColourEncoder:
        tried.append(identity.run)
        raise RuntimeError("its folder is gone")

    app = application(Service({"base": ColourEncoder}), Holdings([painted]), Rules(), opens=fails)
    with TestClient(app, base_url="http://127.0.0.1:7878") as asking:
        while asking.get("/readyz").status_code != 200:
            pass
        until = time.monotonic() + 20
        body = {"query": "green", "space": "other"}
        while asking.post("/api/search", json=body).json()["error"]["code"] != "model_failed":
            assert time.monotonic() < until
        asking.post("/api/search", json=body)
        assert len(tried) == 1 and "model 'other' cannot be loaded" in caplog.text
