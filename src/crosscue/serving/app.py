"""The application: routes, their order of checks, and its life from the first answer to the last."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from crosscue.encoding.encoder import Encoder, Identity
from crosscue.serving import collection_routes, image_routes, label_routes, openai_routes, page_routes, search_routes
from crosscue.serving.failures import REFUSALS, Refusal, add_failures
from crosscue.serving.holdings import Holdings
from crosscue.serving.security import Guard, Rules
from crosscue.serving.service import Service
from crosscue.serving.watching import Watched
from crosscue.version import __version__

MAX_BODY, MAX_IMAGES = 1_000_000, 20_000_000
"""Bytes of a request, and of one to `IMAGE_PATHS`: an image of 15 MB as base64."""
IMAGE_PATHS = ("/v1/embeddings", "/v1/rerank", "/api/search", "/api/likely", "/api/compare")


def application(
    service: Service,
    holdings: Holdings,
    rules: Rules,
    *,
    absolute: bool = False,
    replica: bool = False,
    opens: Callable[[Identity], Encoder] | None = None,
) -> FastAPI:
    """Returns the application around some models and collections. The models load when it starts, and it answers meanwhile.

    Args:
        service: the models.
        holdings: the collections; without any, it serves embeddings alone.
        rules: those of the guard.
        absolute: True puts absolute paths of images into answers, for a server that this machine alone reaches.
        replica: True writes nothing but marks, for one of several servers over the same collections.
        opens: loads the encoder of a space that is indexed while the server runs; None: such a space is refused.
    """

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="crosscue",
        version=__version__,
        summary="Embeddings and image search with a model that is adapted to its owner's images.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
    )
    app.state.service, app.state.holdings, app.state.rules, app.state.absolute = service, holdings, rules, absolute
    app.state.replica, app.state.opens = replica, opens
    app.state.searchers, app.state.refreshing = {}, {}
    add_failures(app)
    app.include_router(openai_routes.router)
    if holdings.folders:
        for routes in (page_routes, search_routes, collection_routes, image_routes, label_routes):
            app.include_router(routes.router)
    add_signs_of_life(app, service, holdings)
    limits = dict.fromkeys(IMAGE_PATHS, MAX_IMAGES)
    app.add_middleware(Guard, rules=rules, max_body=lambda path: limits.get(path, MAX_BODY))
    app.add_middleware(Watched, metrics=service.metrics)
    return app


def add_signs_of_life(app: FastAPI, service: Service, holdings: Holdings) -> None:
    """Adds what load balancers and Prometheus read."""

    @app.get("/healthz", tags=["operation"], summary="The server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", tags=["operation"], summary="The models are loaded")
    async def readyz() -> JSONResponse:
        if service.ready:
            return JSONResponse({"status": "ready"})
        states = {
            name: "ready" if m.towers else "failed" if m.failure else "loading" for name, m in service.models.items()
        }
        headers = {"Retry-After": "2"}
        raise Refusal(503, f"not ready: {states}.", code="loading", headers=headers)

    @app.get("/metrics", tags=["operation"], summary="Counters for Prometheus", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        found = service.metrics
        for name, model in service.models.items():
            if model.towers is not None:
                found.waiting.labels(f"{name} text").set(len(model.towers.text_queue))
                found.waiting.labels(f"{name} image").set(len(model.towers.image_queue))
        with contextlib.suppress(Refusal):  # a collection that is gone keeps its last numbers
            for place in holdings.places():
                found.images.labels(holdings.name_of(place)).set(place.count)
                found.unindexed.labels(holdings.name_of(place)).set(place.unindexed)
        return PlainTextResponse(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)
