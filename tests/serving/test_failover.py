"""Two replicas behind the nginx.conf of deploy/, over a collection that is being written, while one of them is killed."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

from crosscue.search.collection import open_collection
from crosscue.search.indexing import writing
from crosscue.search.schema import KEY
from crosscue.search.writing import Writer
from tests.serving.processes import proxied, served

pytestmark = [pytest.mark.slow, pytest.mark.nginx, pytest.mark.xdist_group("processes")]
SECONDS, CLIENTS, INTERVAL = 10.0, 3, 0.5
CLIENT = httpx.Client(timeout=60)
STALENESS = 1.5
"""Seconds after which every answer must have a commit."""
SLOWEST = 1.0
"""Seconds of the 95th percentile of the requests in work at the kill and in the second after it, where nothing else runs."""


@dataclass(frozen=True)
class Answer:
    """An answer of nginx to a search."""

    begun: float
    took: float
    status: int
    hits: int
    images: int
    """Number of images of the collection in the answer."""


class Searching:
    """Clients that search in a closed loop until they are stopped."""

    def __init__(self, url: str) -> None:
        self.url, self.answers = url, list[Answer]()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._search, args=(number,), daemon=True) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def _search(self, number: int) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                found = client.post(f"{self.url}/api/search", json={"query": f"a red thing {number}", "k": 3})
                answer = found.json()
                counts = len(answer.get("hits", ())), answer.get("images", 0)
                self.answers.append(Answer(begun, time.monotonic() - begun, found.status_code, *counts))

    def stop(self) -> list[Answer]:
        """Returns all answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.answers


class Writing:
    """A writer that commits a new image every half second, and optimises the table once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commits = folder, list[tuple[float, int]]()
        """Time and number of images after each commit."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        with writing(self.folder / ".crosscue") as collection:
            table = collection.table("base")
            writer, row, count = Writer(table, collection.table_folder("base")), table.head(1), table.count_rows()
            while not self._stop.wait(INTERVAL):
                place = row.schema.get_field_index(KEY)
                new = pa.array([f"{len(self.commits):020x}"], row.schema.field(place).type)
                writer.upsert(row.set_column(place, row.schema.field(place), new))
                count += 1
                self.commits.append((time.monotonic(), count))
                if len(self.commits) == 8:
                    writer.tidy()

    def stop(self) -> list[tuple[float, int]]:
        """Returns the commits."""
        self._stop.set()
        self._thread.join(60)
        return self.commits


def staleness(answers: list[Answer], commits: list[tuple[float, int]]) -> float:
    """Returns the longest time by which an answer began after a commit that it lacks."""
    return max(
        (each.begun - at for each in answers for at, count in commits if at <= each.begun and each.images < count),
        default=0.0,
    )


def searches_of(address: str) -> float:
    """Returns the number of searches that a replica has answered."""
    lines = CLIENT.get(f"{address}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("crosscue_requests_total{") and 'route="/api/search"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_no_search_fails_and_none_is_stale_while_a_replica_is_killed(indexed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(indexed, tmp_path / "images")
    with ExitStack() as running:
        (first, address), (second, other) = (running.enter_context(served(folder, "--replica")) for _ in range(2))
        url = running.enter_context(proxied([address, other], tmp_path))
        writer, searching = Writing(folder), Searching(url)
        time.sleep(0.4 * SECONDS)
        killed = time.monotonic()
        first.kill()
        time.sleep(0.2 * SECONDS)
        again, _ = running.enter_context(served(folder, "--replica", port=int(address.rpartition(":")[2])))
        counted = [searches_of(each) for each in (address, other)]
        time.sleep(0.4 * SECONDS)
        answers, commits = searching.stop(), writer.stop()
        grown = [searches_of(each) - before for each, before in zip((address, other), counted, strict=True)]
        after = [each.took for each in answers if killed - each.took < each.begun < killed + 1]

        assert {(each.status, each.hits) for each in answers} == {(200, 3)}
        assert len(commits) > 10 and staleness(answers, commits) <= STALENESS
        assert answers[-1].images > answers[0].images
        assert min(grown) > 0, "a replica does not serve again"
        usual = np.quantile([each.took for each in answers if each.begun < killed - 1], 0.95)
        assert after and np.quantile(after, 0.95) <= max(SLOWEST, 3 * usual)

        for replica in (again, second):
            replica.kill()
            replica.wait(10)
        gone = CLIENT.post(f"{url}/api/search", json={"query": "red"})
        assert gone.status_code == 502 and gone.headers["retry-after"] == "2"
        error = gone.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["code"] == "no_replica"
        large = CLIENT.post(f"{url}/v1/embeddings", content=bytes(21_000_000))
        assert large.status_code == 413 and large.json()["error"]["code"] == "too_large"


def test_a_mark_is_sent_once_and_a_search_twice(indexed: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(indexed, tmp_path / "images")
    with served(folder, "--replica") as (first, address), served(folder, "--replica") as (_, other):
        image = CLIENT.post(f"{other}/api/search", json={"query": "red"}).json()["hits"][0]["id"]
        mark = {"text": "red", "id": image, "relevant": True}
        with proxied([address, other], tmp_path) as url:
            first.kill()
            first.wait(10)
            codes = [CLIENT.post(f"{url}/api/labels", json=mark) for _ in range(2)]
            assert sorted(answer.status_code for answer in codes) == [200, 502]
            assert [CLIENT.get(f"{url}/api/labels").status_code for _ in range(2)] == [200, 200]
            time.sleep(2.5)  # nginx takes the first replica for alive again
            searches = [CLIENT.post(f"{url}/api/search", json={"query": "red"}).status_code for _ in range(4)]
            assert searches == [200] * 4
    assert len(open_collection(folder).connection.open_table("_labels").to_arrow()) == 1
