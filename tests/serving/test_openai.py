"""The forms of other servers: OpenAI's with its real client, infinity's and vLLM's for images."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from crosscue.data.images import MAX_PIXELS
from crosscue.serving.app import application
from crosscue.serving.data_urls import MAX_UPLOAD_PIXELS
from crosscue.serving.holdings import Holdings
from crosscue.serving.security import Rules
from crosscue.serving.service import Service
from tests.serving.encoders import COLOURS, ColourEncoder, data_url


@pytest.fixture
def asking() -> Iterator[TestClient]:
    app = application(Service({"colours": ColourEncoder}), Holdings([]), Rules())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").status_code in (200, 503)
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def vectors(asking: TestClient, **body: Any) -> np.ndarray:
    answer = asking.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def refused(asking: TestClient, **body: Any) -> tuple[int, str | None]:
    answer = asking.post("/v1/embeddings", json=body)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


def test_openai_client_reads_the_vectors(asking: TestClient) -> None:
    openai = pytest.importorskip("openai")
    transport = httpx.MockTransport(
        lambda request: httpx.Response(
            (
                found := asking.request(
                    request.method,
                    request.url.path,
                    content=request.content,
                    headers={"content-type": "application/json"},
                )
            ).status_code,
            content=found.content,
            headers={"content-type": "application/json"},
        )
    )
    client = openai.OpenAI(
        api_key="none", base_url="http://127.0.0.1/v1", http_client=httpx.Client(transport=transport)
    )
    expected = ColourEncoder().encode_texts(["red", "green blue"]).vectors
    for written in ("base64", "float"):
        answer = client.embeddings.create(model="colours", input=["red", "green blue"], encoding_format=written)
        read = [
            np.frombuffer(base64.b64decode(row.embedding), "<f4") if isinstance(row.embedding, str) else row.embedding
            for row in answer.data
        ]
        assert np.allclose(read, expected)
    assert [model.id for model in client.models.list()] == ["colours"]
    with pytest.raises(openai.NotFoundError, match=r"there is no model 'colour'\. Did you mean 'colours'"):
        client.embeddings.create(model="colour", input="red")


def test_texts_and_images_mix_and_keep_their_order(asking: TestClient) -> None:
    red, blue = data_url(COLOURS["red"]), data_url(COLOURS["blue"], kind="JPEG")
    mixed = vectors(
        asking, input=["blue", red, {"text": "red"}, {"image": blue}, {"type": "image_url", "image_url": {"url": red}}]
    )
    assert np.allclose(mixed[1], mixed[4]) and not np.allclose(mixed[1], mixed[2])
    assert (mixed @ mixed.T)[1].argsort()[::-1][2] == 2  # beside itself and its copy, the red image is nearest to "red"
    assert (mixed @ mixed.T)[3, 0] > (mixed @ mixed.T)[3, 2]


def test_infinity_and_vllm_forms(asking: TestClient) -> None:
    red = data_url(COLOURS["red"])
    plain = vectors(asking, input=red)
    assert np.allclose(vectors(asking, input=[red], modality="image"), plain)
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": red}}]}
    assert np.allclose(vectors(asking, messages=[message]), plain)
    assert np.allclose(vectors(asking, messages=[{"role": "user", "content": "red"}]), vectors(asking, input="red"))


def test_cut_texts_are_named(asking: TestClient) -> None:
    answer = asking.post("/v1/embeddings", json={"input": ["red", "a b c d e f g"]}).json()
    assert answer["truncated"] == {"1": 2}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "no_input")),
        ({"input": []}, (400, "no_input")),
        ({"input": "  "}, (400, "empty_text")),
        ({"input": ["red"] * 257}, (400, "too_many")),
        ({"input": [1, 2, 3]}, (400, "tokens")),
        ({"input": [[1, 2]]}, (400, "tokens")),
        ({"input": {"text": "a", "image": "b"}}, (400, "bad_item")),
        ({"input": {}}, (400, "bad_item")),
        ({"input": "red", "dimensions": 2}, (400, "wrong_dimensions")),
        ({"input": "red", "model": "other"}, (404, "unknown_model")),
        ({"input": "red", "encoding_format": "hex"}, (422, "invalid_parameter")),
        ({"input": "http://127.0.0.1/secret.png"}, (400, "url_not_taken")),
        ({"input": "file:///etc/passwd"}, (400, "url_not_taken")),
        ({"input": "s3://bucket/dog.png"}, (400, "url_not_taken")),
        ({"input": "red", "modality": "image"}, (400, "url_not_taken")),
        ({"input": "data:image/png;base64,!!!"}, (400, "not_base64")),
        ({"input": "data:image/png,plain"}, (400, "not_base64")),
        ({"input": "data:image/png;base64,aGVsbG8="}, (415, "DataError")),
        ({"messages": [{"content": [{"text": "a"}, {"text": "b"}]}]}, (400, "bad_messages")),
    ],
)
def test_refusals(asking: TestClient, body: dict[str, Any], expected: tuple[int, str]) -> None:
    assert refused(asking, **body) == expected


def test_an_image_of_too_many_pixels_is_refused_by_its_header(asking: TestClient) -> None:
    side = 8000
    assert MAX_UPLOAD_PIXELS < side * side < MAX_PIXELS
    assert refused(asking, input=data_url(size=(side, side))) == (413, "too_many_pixels")
    png = bytearray(base64.b64decode(data_url().split(",")[1]))
    png[16:24] = struct.pack(">II", 20_000, 20_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    bomb = "data:image/png;base64," + base64.b64encode(png).decode()
    answer = asking.post("/v1/embeddings", json={"input": bomb})
    assert answer.status_code == 413 and "at most 50,000,000 are taken" in answer.text


@pytest.mark.parametrize("text", ["half \ud800", "zero \x00", "a" * 100_001])
def test_a_text_that_no_tokenizer_reads_is_refused(asking: TestClient, text: str) -> None:
    def status(path: str, **body: object) -> int:
        headers = {"content-type": "application/json"}
        return asking.post(path, content=json.dumps(body), headers=headers).status_code

    assert status("/v1/embeddings", input=[text]) == 400
    assert status("/v1/rerank", query="red", documents=[text], return_documents=True) == 400
    assert status("/v1/rerank", query=text, documents=["red"]) == 400


def test_no_body_is_read_beyond_its_limit(asking: TestClient) -> None:
    for content in (b"x" * 21_000_000, iter([b"x" * 11_000_000] * 2)):
        answer = asking.post("/v1/embeddings", content=content, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_body_without_images_may_have_a_megabyte(asking: TestClient) -> None:
    for path, size, status in (("/api/labels", 1_100_000, 413), ("/v1/embeddings", 1_100_000, 422)):
        answer = asking.post(path, content=b"x" * size, headers={"content-type": "application/json"})
        assert answer.status_code == status, path


def test_rerank_orders_texts_and_images(asking: TestClient) -> None:
    documents = ["green", {"image": data_url(COLOURS["red"])}, "red"]
    answer = asking.post(
        "/v1/rerank", json={"query": "red", "documents": documents, "top_n": 2, "return_documents": True}
    )
    results = answer.json()["results"]
    assert [row["index"] for row in results] == [2, 1]
    assert results[0]["relevance_score"] == pytest.approx(1, abs=1e-6) and results[0]["document"] == {"text": "red"}


def test_before_its_model_is_loaded_a_server_answers_503() -> None:
    import threading

    go = threading.Event()

    def opener() -> ColourEncoder:
        go.wait(10)
        return ColourEncoder()

    with TestClient(
        application(Service({"slow": opener}), Holdings([]), Rules()), base_url="http://127.0.0.1"
    ) as client:
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), client.post("/v1/embeddings", json={"input": "red"})):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        go.set()
        while client.get("/readyz").status_code != 200:
            pass
        assert client.post("/v1/embeddings", json={"input": "red"}).status_code == 200


def test_a_fault_of_ours_is_logged_with_the_number_of_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ColourEncoder):
        def encode_texts(self, texts: Any) -> Any:
            raise RuntimeError("/secret/path")

    app = application(Service({"broken": Broken}), Holdings([]), Rules())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        while client.get("/readyz").status_code != 200:
            pass
        answer = client.post("/v1/embeddings", json={"input": "red"})
    assert answer.status_code == 500 and "/secret" not in answer.text
    assert any(answer.json()["error"]["code"] in record.getMessage() for record in caplog.records)


def test_metrics_count_requests_and_hold_no_text(asking: TestClient) -> None:
    asking.post("/v1/embeddings", json={"input": "a secret dog"})
    text = asking.get("/metrics").text
    assert 'crosscue_requests_total{code="200",route="/v1/embeddings"} 1.0' in text and "secret" not in text
