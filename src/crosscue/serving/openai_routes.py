"""Embeddings and re-ranking as other servers offer them: OpenAI's forms, and those of infinity and vLLM for images."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from crosscue.encoding.encoder import Floats
from crosscue.serving.data_urls import image_of, is_url
from crosscue.serving.failures import Refusal
from crosscue.serving.service import Service
from crosscue.serving.terms import LONGEST, UNREADABLE, unreadable
from crosscue.serving.towers import Towers

MOST = 256
"""Largest number of inputs in one request."""

router = APIRouter(prefix="/v1", tags=["OpenAI"])
Text = Annotated[str, Field(max_length=LONGEST)]


class ImageUrl(BaseModel):
    """An image as OpenAI's messages hold it."""

    url: str


class Part(BaseModel):
    """A text or an image: `{text}`, `{image}`, or a part of a message."""

    type: Literal["text", "image_url", "image"] | None = None
    text: Text | None = None
    image: str | None = None
    image_url: ImageUrl | None = None


class Message(BaseModel):
    """A message in vLLM's form."""

    role: str = "user"
    content: Text | list[Part]


class EmbeddingRequest(BaseModel):
    """Body of POST /v1/embeddings."""

    model_config = ConfigDict(extra="ignore")  # clients send fields of other servers, such as `user`
    model: str | None = None
    input: str | Part | list[str | Part | list[int] | int] | None = None
    messages: list[Message] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    modality: Literal["text", "image"] | None = None


class RerankRequest(BaseModel):
    """Body of POST /v1/rerank."""

    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    query: str | Part
    documents: list[str | Part] = Field(min_length=1, max_length=MOST)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False


@router.post("/embeddings", summary="Unit vectors of texts and images")
def embeddings(body: EmbeddingRequest, request: Request) -> dict[str, Any]:
    """Returns one vector for each input, in order."""
    service: Service = request.app.state.service
    towers = service.towers(body.model)
    width = towers.identity.width
    if body.dimensions not in (None, width):
        message = f"dimensions: this model has {width}, and its vectors cannot be cut."
        raise Refusal(400, message, code="wrong_dimensions", param="dimensions")
    with service.metrics.stage("/v1/embeddings", "encode"):
        vectors, unread = encoded(towers, inputs_of(body), "input")
    plain = body.encoding_format == "float"
    data = [
        {"object": "embedding", "index": index, "embedding": vector.tolist() if plain else packed(vector)}
        for index, vector in enumerate(vectors)
    ]
    answer: dict[str, Any] = {"object": "list", "data": data, "model": body.model or next(iter(service.models))}
    answer["usage"] = {"prompt_tokens": 0, "total_tokens": 0}  # nothing is billed, so nothing is counted
    if any(unread):
        answer["truncated"] = {str(index): left for index, left in enumerate(unread) if left}
    return answer


@router.post("/rerank", summary="Cosines of documents with a query, best first")
def rerank(body: RerankRequest, request: Request) -> dict[str, Any]:
    """Returns the documents, texts or images, by their cosine with the query."""
    service: Service = request.app.state.service
    towers = service.towers(body.model)
    with service.metrics.stage("/v1/rerank", "encode"):
        query, _ = encoded(towers, [content(body.query, "query", None)], "query")
        vectors, _ = encoded(towers, [content(each, "documents", None) for each in body.documents], "documents")
    scores = vectors @ query[0]
    order = np.argsort(-scores, kind="stable")[: body.top_n]
    results: list[dict[str, Any]] = []
    for index in order:
        result: dict[str, Any] = {"index": int(index), "relevance_score": float(scores[index])}
        if body.return_documents:
            document = body.documents[index]
            result["document"] = (
                {"text": document} if isinstance(document, str) else document.model_dump(exclude_none=True)
            )
        results.append(result)
    return {"model": body.model or next(iter(service.models)), "results": results}


@router.get("/models", summary="The models of this server")
def models(request: Request) -> dict[str, Any]:
    """Returns the names of the models."""
    service: Service = request.app.state.service
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "owned_by": "crosscue"} for name in service.models],
    }


def inputs_of(body: EmbeddingRequest) -> list[tuple[Literal["text", "image"], str]]:
    """Returns the inputs of a request, each as a text or as the URL of an image.

    Raises:
        Refusal: there is none, there are too many, or one is neither (400).
    """
    if (body.input is None) == (body.messages is None):
        raise Refusal(400, "send either input or messages.", code="no_input", param="input")
    if body.messages is not None:
        parts = [part for message in body.messages for part in as_parts(message.content)]
        if len(parts) != 1:
            raise Refusal(
                400, "messages must hold exactly one text or one image.", code="bad_messages", param="messages"
            )
        return [content(parts[0], "messages", body.modality)]
    given = body.input if isinstance(body.input, list) else [body.input]
    if not given:
        raise Refusal(400, "input holds nothing.", code="no_input", param="input")
    if len(given) > MOST:
        raise Refusal(400, f"input may hold at most {MOST} items.", code="too_many", param="input")
    return [content(item, "input", body.modality) for item in given]


def as_parts(given: str | list[Part]) -> list[str | Part]:
    """Returns the content of a message as a list."""
    return [given] if isinstance(given, str) else list(given)


def content(item: Any, param: str, modality: str | None) -> tuple[Literal["text", "image"], str]:
    """Returns one input as its kind and its text or URL.

    Raises:
        Refusal: it is a list of tokens, empty, or holds both or neither (400).
    """
    if isinstance(item, str):
        if modality == "image" or (modality is None and is_url(item)):
            return "image", item
        return "text", nonempty(item, param)
    if not isinstance(item, Part):
        raise Refusal(400, "send texts: token numbers are those of another model.", code="tokens", param=param)
    url = item.image_url.url if item.image_url is not None else item.image
    if (url is None) == (item.text is None):
        raise Refusal(400, f"each item of {param} needs either a text or an image.", code="bad_item", param=param)
    return ("image", url) if url is not None else ("text", nonempty(item.text or "", param))


def nonempty(text: str, param: str) -> str:
    """Returns a text.

    Raises:
        Refusal: it has no words, is too long, or contains what no text contains (400).
    """
    if not text.strip():
        raise Refusal(400, f"{param} contains a text without words.", code="empty_text", param=param)
    if len(text) > LONGEST:
        raise Refusal(400, f"{param} contains a text of over {LONGEST:,} characters.", code="long_text", param=param)
    if unreadable(text):
        raise Refusal(400, f"{param} contains a text with {UNREADABLE}", code="bad_text", param=param)
    return text


def encoded(towers: Towers, inputs: list[tuple[Literal["text", "image"], str]], param: str) -> tuple[Floats, list[int]]:
    """N inputs -> (N, D) unit vectors and, for each, the number of word pieces that were not read."""
    vectors = np.empty((len(inputs), towers.identity.width), np.float32)
    unread = [0] * len(inputs)
    texts = [index for index, (kind, _) in enumerate(inputs) if kind == "text"]
    images = [index for index, (kind, _) in enumerate(inputs) if kind == "image"]
    if texts:
        found = towers.encode_texts([inputs[index][1] for index in texts])
        vectors[texts] = found.vectors
        for index, left in zip(texts, found.truncated, strict=True):
            unread[index] = int(left)
    if images:
        pixels = [towers.pixels.read(image_of(inputs[index][1], param)) for index in images]
        vectors[images] = towers.encode_images(np.stack(pixels))
    return vectors, unread


def packed(vector: Floats) -> str:
    """Returns a vector as base64 of little-endian float32, as OpenAI sends it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
