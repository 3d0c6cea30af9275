"""Any order of changes to a folder, indexed again and again, against a dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crosscue.data.pairs import ImageFile
from tests.search.conftest import ColourEncoder, indexed, paint, rows_of

PATHS = [f"{folder}{name}.png" for folder in ("", "trips/", "trips/2024/") for name in ("a", "b", "café")]
paths = st.sampled_from(PATHS)
seeds = st.integers(0, 3)


class Folder(RuleBasedStateMachine):
    """A folder of images whose collection must equal a fresh one after every indexing."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp())
        self.photos, self.place = self.top / "photos", self.top / "c"
        paint(self.photos / "first.png", 99)
        self.files = {"first.png": 99}
        self.captions: dict[str, str] = {}
        self.encoder = ColourEncoder(bank=True)
        self.clock = 1
        self.stale = True

    def teardown(self) -> None:
        shutil.rmtree(self.top)

    def touch_now(self, path: str) -> None:
        """Gives a file a time of its own, as a real clock would."""
        self.clock += 1
        os.utime(self.photos / path, ns=(self.clock * 10**9, self.clock * 10**9))
        self.stale = True

    @rule(path=paths, seed=seeds)
    def write(self, path: str, seed: int) -> None:
        paint(self.photos / path, seed)
        self.files[path] = seed
        self.touch_now(path)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self.touch_now(data.draw(st.sampled_from(sorted(self.files))))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), new=paths, keep=st.booleans())
    def move_or_copy(self, data: st.DataObject, new: str, keep: bool) -> None:
        source = data.draw(st.sampled_from(sorted(self.files)))
        if source == new:
            return
        (self.photos / new).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copy2 if keep else shutil.move)(self.photos / source, self.photos / new)
        self.files[new] = self.files[source]
        if not keep:
            del self.files[source]
        self.stale = True

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.files)))
        (self.photos / path).unlink()
        del self.files[path]
        self.stale = True

    @precondition(lambda self: self.files)
    @rule(data=st.data(), text=st.sampled_from(["a dog", "two cats"]))
    def caption(self, data: st.DataObject, text: str) -> None:
        path = data.draw(st.sampled_from(sorted(self.files)))
        sidecar = str(Path(path).with_suffix(".txt"))
        (self.photos / sidecar).write_text(f"{text}\n")
        self.captions[sidecar] = text
        self.touch_now(sidecar)

    @rule()
    def index(self) -> None:
        before = {row["content"] for row in rows_of(self.place).values()} if self.place.exists() else set()
        self.encoder.images = 0
        counts = indexed(self.place, [self.photos], self.encoder, remove_missing="always").counts
        rows = rows_of(self.place)
        assert set(rows) == set(self.files)
        for path, row in rows.items():
            pixels = self.encoder.pixels.read(ImageFile(self.photos / path))
            expected = ColourEncoder().encode_images(pixels[None])
            assert np.allclose(row["vector"], expected[0], atol=1e-6), path
            assert np.isclose(row["hubness"], self.encoder.bank.hubness(expected)[0], atol=1e-6)
            sidecar = str(Path(path).with_suffix(".txt"))
            assert row["captions"] == ([self.captions[sidecar]] if sidecar in self.captions else [])
        assert self.encoder.images == counts.encoded <= len({row["content"] for row in rows.values()})
        if {row["content"] for row in rows.values()} <= before and not counts.changed:
            assert counts.encoded == 0, "moved, copied and untouched files cost no encoding"
        assert counts.images == len(self.files)
        self.stale = False

    @invariant()
    def nothing_to_do_is_nothing_done(self) -> None:
        if not self.stale:
            self.encoder.images = 0
            again = indexed(self.place, [self.photos], self.encoder).counts
            assert (again.same, again.encoded) == (len(self.files), 0)


TestFolder = Folder.TestCase
TestFolder.settings = settings(
    max_examples=8, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
