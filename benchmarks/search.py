"""CPU time and recall of a query in a collection, beside faiss, usearch and rclip's way, in one process.

    python benchmarks/search.py DATA --sizes 20000,100000 --queries 100

DATA holds `flickr8k` and `cars_features` with features of the starter's image tower. A vector of the collection is a real
feature plus a part of the difference of two others. So they spread as real ones do. Its caption is one of Flickr8k.
Queries are captions and images. Recall@10 is against all vectors; searches with words or a filter have other results, and
none is printed. A peer that is not installed is named and left out. With --json, a run that was stopped continues after
the last peer.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from crosscue.api import as_run
from crosscue.data.pixels import PixelSpec
from crosscue.encoding.encoder import Identity
from crosscue.encoding.query import EmbeddedQuery
from crosscue.search import collection as collections
from crosscue.search.indices import maintain
from crosscue.search.request import Request
from crosscue.search.schema import COLUMNS, LOOKS, identifier, schema, vector_array
from crosscue.search.searching import Searcher
from crosscue.search.spaces import VectorIndex
from crosscue.search.tuning import found_by
from crosscue.search.writing import Writer

K = 10
CHUNK = 10_000
WORDS = (
    "red bicycle",
    "dog grass",
    "boy swimming pool",
    "snowy mountain",
    "wearing hat",
    "beach",
    "black white",
    "street night",
)
"""Words of the searches with words; a caption must contain all of them."""
SHARE = 0.3
"""Part of the difference of two features that is added to a third one."""


@dataclass
class Side:
    """One way to answer a query."""

    name: str
    answer: Callable[[np.ndarray], np.ndarray]
    """(D,) -> the positions of the ten best."""
    built: float
    """CPU seconds that it took to build."""
    judged: bool = True
    """False: its results are not those of all vectors."""


class Silent:
    """An encoder that is never asked, because queries are vectors."""

    rerank_modes: tuple[str, ...] = ()
    bank = None
    pixels = PixelSpec(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, width: int) -> None:
        self.identity = Identity("0" * 64, "features", "zero_shot", "starter", width, 224, "torch", "fp32")

    def uncertainty(self, scores: np.ndarray) -> None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with flickr8k and cars_features")
    parser.add_argument("--sizes", default="20000,100000", help="numbers of vectors, such as 20000,100000,1000000")
    parser.add_argument("--queries", type=int, default=100, help="captions, and as many images")
    parser.add_argument("--seconds", type=float, default=120, help="CPU seconds for the queries of one side")
    parser.add_argument("--json", type=Path, help="file of the numbers; sides that it has are not measured again")
    given = parser.parse_args()
    features = real_features(given.data)
    rows = json.loads((given.data / "flickr8k" / "captions.json").read_text(encoding="utf-8"))
    captions = [caption for row in rows for caption in row["captions"]]
    texts = (
        as_run("zero_shot")
        .encode_text(captions[:: max(len(captions) // given.queries, 1)][: given.queries])
        .float()
        .numpy()
    )
    images = unit(features[:: max(len(features) // given.queries, 1)][: given.queries])
    queries = np.stack([texts, images], 1).reshape(-1, texts.shape[1])  # a text, an image, a text, ...
    kept = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    for size in given.sizes.split(","):
        numbers = kept.setdefault(size, {})

        def keep(name: str, sides: dict[str, Any], numbers: dict[str, Any] = numbers) -> None:
            numbers[name] = sides
            if given.json:
                given.json.write_text(json.dumps(kept, indent=1) + "\n")

        benchmark(features, captions, int(size), queries, given.seconds, numbers, keep)


def benchmark(
    features: np.ndarray,
    captions: list[str],
    size: int,
    queries: np.ndarray,
    seconds: float,
    done: Collection[str],
    keep: Callable[[str, dict[str, Any]], None],
) -> None:
    """Print and keep the numbers of one size, peer by peer."""
    vectors = spread(features, size)
    exact = [np.argpartition(-(vectors @ query), K)[:K] for query in queries]
    print(f"\n{size:,} vectors of {vectors.shape[1]} numbers; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    peers = (exact_numpy, faiss_ivf, faiss_hnsw, usearch_exact, rclip)
    own = functools.partial(ours, captions=captions)
    for name, make in {"ours": own, **{peer.__name__: peer for peer in peers}}.items():
        if name in done:
            print(f"{name}: measured before")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            try:
                sides = make(Path(scratch), vectors, queries)
            except ImportError as missing:
                print(f"{name}: left out, because {missing.name} is not installed")
                continue
            keep(name, {side.name: measured(side, queries, exact, seconds) for side in sides})


def measured(side: Side, queries: np.ndarray, exact: list[np.ndarray], seconds: float) -> dict[str, float]:
    """Print and return recall and time of one side; fewer queries than given if they take more CPU seconds."""
    side.answer(queries[0])
    walls, costs, hits = [], [], []
    for query, right in zip(queries, exact, strict=True):
        began, start = time.perf_counter(), time.process_time()
        found = side.answer(query)
        costs.append(time.process_time() - start)
        walls.append(time.perf_counter() - began)
        hits.append(len(set(found.tolist()) & set(right.tolist())) / K)
        if sum(costs) > seconds:
            break
    cpu, low = 1000 * float(np.mean(costs)), 1000 * float(np.quantile(costs, 0.1))
    p95 = 1000 * float(np.quantile(walls, 0.95))
    of_texts, of_images = float(np.mean(hits[::2])), float(np.mean(hits[1::2]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    recall = f"recall@10 {of_texts:.3f} texts {of_images:.3f} images" if side.judged else ""
    print(
        f"{side.name:42} {recall:40}; {cpu:8.2f} CPU-ms (cheapest tenth {low:.2f}), p95 {p95:7.1f} ms; "
        f"{len(hits)} queries; built in {side.built:6.1f} CPU-s; at most {memory:,.0f} MB so far",
        flush=True,
    )
    return {
        **({"texts": of_texts, "images": of_images} if side.judged else {}),
        "cpu_ms": cpu,
        "cheapest_tenth_cpu_ms": low,
        "p95_ms": p95,
        "queries": len(hits),
        "built_cpu_s": side.built,
        "load": os.getloadavg()[0],
    }


def ours(scratch: Path, vectors: np.ndarray, queries: np.ndarray, captions: list[str]) -> list[Side]:
    """A collection: its index alone, and the whole search."""
    start = time.process_time()
    collection = collections.create_collection(scratch / "collection")
    encoder = Silent(vectors.shape[1])
    space = collection.add_space("features", encoder.identity)
    table = collection.table("features")
    places: dict[str, int] = {}
    for first in range(0, len(vectors), CHUNK):
        rows = table_of(first, vectors[first : first + CHUNK], captions)
        places |= {one: first + place for place, one in enumerate(rows["id"].to_pylist())}
        table.add(rows)
    collection.roots["r"] = scratch
    wrote = time.process_time() - start
    start = time.process_time()
    maintain(collection, space, Writer(table, collection.table_folder("features")))
    collection.refresh()
    collection.roots["r"] = scratch
    built = time.process_time() - start
    print(f"collection: {wrote:.1f} CPU-s to write the rows, {built:.1f} CPU-s for all indices")
    sides = []
    index = collection.space("features").index
    if index is not None:
        sides.append(
            Side(
                f"crosscue, index ({index.partitions} partitions, {index.nprobes} read)",
                of_index(collection, index, places),
                built,
            )
        )
    return [*sides, *whole(collection, encoder, places, queries, built)]


def of_index(
    collection: collections.Collection, index: VectorIndex, places: dict[str, int]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the query of the index, as `crosscue index tune` measures it, with the positions of the results."""
    table = collection.table("features")
    rows = table.search().select(["id"]).with_row_id(True).to_arrow()
    positions = {row: places[one] for row, one in zip(rows["_rowid"].to_pylist(), rows["id"].to_pylist(), strict=True)}

    def answer(query: np.ndarray) -> np.ndarray:
        found = found_by(table, query, index)
        return np.array([positions[one] for one in found["_rowid"].to_pylist()])

    return answer


def whole(
    collection: collections.Collection, encoder: Silent, places: dict[str, int], queries: np.ndarray, built: float
) -> Iterator[Side]:
    """Yield the whole search: by the index, exact, with words and with filters. A query is found by its bytes."""
    searcher = Searcher(collection, encoder)  # type: ignore[arg-type]
    plain = Request(k=K, all=True, text="off", group=False)
    words = {query.tobytes(): WORDS[number % len(WORDS)] for number, query in enumerate(queries)}
    kinds = {
        "crosscue, whole search": plain,
        "crosscue, whole search, exact": replace(plain, exact=True),
        "crosscue, with words and copies": Request(k=K),
        "crosscue, filter of 10 %, copies": Request(k=K, text="off", filter="width>4500"),
        "crosscue, filter of 1 %, copies": Request(k=K, text="off", filter="taken:2016-03"),
        "crosscue, filter of .1 %, copies": Request(k=K, text="off", filter="folder:7/"),
    }
    for name, request in kinds.items():

        def answer(query: np.ndarray, request: Request = request) -> np.ndarray:
            given = words[query.tobytes()] if request.text == "auto" else ""
            hits = searcher.search_embedded(lambda: EmbeddedQuery(query, 0), given, request)
            return np.array([places[hit.id] for hit in hits])

        yield Side(name, answer, built, judged=request.text == "off" and not request.filter)


def exact_numpy(scratch: Path, vectors: np.ndarray, queries: np.ndarray) -> list[Side]:
    """All vectors in memory."""
    return [Side("numpy, exact, in memory", lambda query: np.argpartition(-(vectors @ query), K)[:K], 0.0)]


def faiss_ivf(scratch: Path, vectors: np.ndarray, queries: np.ndarray) -> list[Side]:
    """Inverted lists with 8-bit scalars, in memory."""
    import faiss

    faiss.omp_set_num_threads(1)
    start = time.process_time()
    lists = int(2 ** round(np.log2(4 * len(vectors) ** 0.5)))
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(len(vectors) // (64 * lists), 1)])
    index.add(vectors)
    index.nprobe = max(lists // 16, 8)
    built = time.process_time() - start
    return [
        Side(
            f"faiss IVF{lists},SQ8, {index.nprobe} lists read", lambda query: index.search(query[None], K)[1][0], built
        )
    ]


def faiss_hnsw(scratch: Path, vectors: np.ndarray, queries: np.ndarray) -> list[Side]:
    """A graph, in memory."""
    import faiss

    faiss.omp_set_num_threads(1)
    start = time.process_time()
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 80, 256
    index.add(vectors)
    return [Side("faiss HNSW16, ef 256", lambda query: index.search(query[None], K)[1][0], time.process_time() - start)]


def usearch_exact(scratch: Path, vectors: np.ndarray, queries: np.ndarray) -> list[Side]:
    """All vectors as int8, in memory."""
    from usearch.index import search

    start = time.process_time()
    small = np.round(127 * vectors).astype(np.int8)
    built = time.process_time() - start

    def answer(query: np.ndarray) -> np.ndarray:
        found = search(small, np.round(127 * query).astype(np.int8), K, "ip", exact=True, threads=1)
        return np.asarray(found.keys, np.int64)

    return [Side("usearch int8, exact", answer, built)]


def rclip(scratch: Path, vectors: np.ndarray, queries: np.ndarray) -> list[Side]:
    """The way of rclip 3.3: all vectors from SQLite by its own class, then its product and its sort of all scores."""
    from rclip.db import DB

    start = time.process_time()
    database = DB(scratch / "rclip.db")
    for place, vector in enumerate(vectors):
        row = {"filepath": f"/r/{place}", "modified_at": 0.0, "size": 0, "vector": vector.tobytes(), "hash": ""}
        database.upsert_image(row, commit=False)
    built = time.process_time() - start

    def answer(query: np.ndarray) -> np.ndarray:
        paths, rows = [], []
        for image in database.get_image_vectors_by_dir_path("/r"):
            paths.append(image["filepath"])
            rows.append(np.frombuffer(image["vector"], np.float32))
        scores = query @ np.stack(rows).T
        ranked = sorted(zip(scores, range(len(scores)), strict=True), key=lambda pair: pair[0], reverse=True)
        return np.array([int(paths[place][3:]) for _, place in ranked[:K]])

    return [Side("rclip 3.3, from its database", answer, built)]


def table_of(first: int, vectors: np.ndarray, captions: list[str]) -> pa.Table:
    """Return rows of a space for some vectors: 1,000 folders, ten years, widths up to 5,000."""
    count, draw = len(vectors), np.random.default_rng(first)
    names = [f"{first + place}.jpg" for place in range(count)]
    folders = [str((first + place) % 1000) for place in range(count)]
    paths = [f"{folder}/{name}" for folder, name in zip(folders, names, strict=True)]
    chosen = [captions[place] for place in draw.integers(0, len(captions), count)]
    given = {
        "id": [identifier("r", path.encode()) for path in paths],
        "root": ["r"] * count,
        "path": paths,
        "name": names,
        "folder": folders,
        "content": paths,
        "width": draw.integers(1, 5001, count).tolist(),
        "taken": [datetime(2015, 1, 1) + timedelta(hours=int(hour)) for hour in draw.integers(0, 87_600, count)],
        "captions": [[caption] for caption in chosen],
        "text": chosen,
        "looks": list(draw.integers(0, 256, (count, LOOKS), np.uint8)),
    }
    arrays = [pa.array(given.get(name, [None] * count), kind) for name, kind in COLUMNS.items()]
    width = vectors.shape[1]
    return pa.Table.from_arrays([*arrays, vector_array(vectors, width)], schema=schema(width))


def real_features(data: Path) -> np.ndarray:
    """Return the features of the images of both sources, as unit vectors."""
    files = (data / name / "clip_b16_features.safetensors" for name in ("flickr8k", "cars_features"))
    return unit(np.concatenate([next(iter(load_file(file).values())).astype(np.float32) for file in files]))


def spread(features: np.ndarray, size: int) -> np.ndarray:
    """Return `size` vectors: the real ones first, then real ones moved by a part of a difference of two others."""
    draw = np.random.default_rng(0)
    vectors = np.empty((size, features.shape[1]), np.float32)
    vectors[: len(features)] = features[:size]
    for first in range(len(features), size, CHUNK):
        one, other, third = draw.integers(0, len(features), (3, min(CHUNK, size - first)))
        vectors[first : first + CHUNK] = unit(features[one] + SHARE * (features[other] - features[third]))
    return vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
