"""Search, comparison of two models, similar images, and why an image was found."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

router = APIRouter(tags=["search"])


class SearchRequest(BaseModel):
    """Body of POST /api/search."""

    query: str
    space: str | None = None
    filter: str | None = None
    k: Annotated[int, Field(ge=1, le=500)] = 80


async def found(request: Request, body: SearchRequest) -> dict[str, Any]:
    """Stub."""
    raise NotImplementedError
