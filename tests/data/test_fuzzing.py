"""Damaged sources and images: one line or a right result, in bounded memory, never a traceback.

`make test` tries about 2,000 inputs and `make fuzz` ten times as many (CROSSCUE_FUZZ). They are the same at every run.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save

from crosscue.data.audit import audit
from crosscue.data.images import open_image, peculiarities
from crosscue.data.pairs import EmbeddedImage, Pairs
from crosscue.data.pixels import PixelSpec
from crosscue.data.sources import Reading, read_pairs
from crosscue.errors import CrosscueError
from tests.images import draw_noise

TIMES = int(os.environ.get("CROSSCUE_FUZZ", "2000")) / 2000
SECONDS = 1.8 if TIMES <= 1 else 300
"""Longest time that one test computes; the inputs behind it are not tried."""
TRIED: list[bool] = []
"""For each input, True if it was tried in time."""
LARGEST = 400_000
"""Kilobytes that all inputs together may add to the memory of the process."""

Write = Callable[[Path, bytes], Path]
Edits = list[tuple[float, int, bytes]]
"""Place as a share of the content, number of bytes that are cut there, and bytes that are put there."""

TOKENS = [
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r",
        b"\0",
        b"#0\t",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\xe9",
        b"null",
        b"NaN",
        b"1e999",
        b"-1",
        b"9" * 400,
        b"\\ud800",
        b"../",
        b"0.png",
        b"\\",
        b"~",
        b"\x80" * 3,
        b"[" * 2000,
    ),
    *(b"\x7f\xff\xff\xff", b"\xff" * 8),
]
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 12) | st.integers(0, 4000), st.sampled_from(TOKENS) | st.binary(max_size=6)
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: Edits) -> bytes:
    for place, cut, put in edits:
        start = int(place * len(content))
        content = content[:start] + put + content[start + cut :]
    return content


def fuzz(count: int) -> Any:
    """Settings of one test with `count` of the 2,000 inputs."""
    checks = list(HealthCheck)
    return settings(
        max_examples=max(int(count * TIMES), 1),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=checks,
    )


@pytest.fixture(scope="module", autouse=True)
def bounded_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    if TIMES > 1:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f" {sum(TRIED):,} of {len(TRIED):,} inputs were tried in time")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three images."""
    folder = tmp_path_factory.mktemp("fuzz")
    for number in range(3):
        draw_noise(folder / f"{number}.png", number, 5, 5)
    return folder


@pytest.fixture
def in_time() -> Callable[[], bool]:
    end = time.process_time() + SECONDS

    def inside() -> bool:
        TRIED.append(time.process_time() < end)
        return TRIED[-1]

    return inside


def is_line(error: CrosscueError) -> bool:
    text = str(error)
    return bool(text.strip()) and len(text.splitlines()) == 1 and len(text) < 3000 and text.encode() != b""


def read_or_named(source: Path, kind: str = "auto", **options: Any) -> Pairs | None:
    """Reads a source twice, with faults raised and collected; whatever is read must be whole."""
    found = None
    for faults in (None, dict[str, list[str]]()):
        try:
            found = read_pairs(source, reading=Reading(kind=kind, **options), faults=faults)
        except CrosscueError as error:
            assert is_line(error), error
            continue
        assert len({pair.image_id for pair in found}) == len(found)
        assert all(caption.strip() for caption in found.captions)
        assert all(len(line.splitlines()) == 1 for lines in (faults or {}).values() for line in lines)
        assert found.fingerprint()
        assert json.dumps(audit(found, images=False, faults=faults).to_dict())
    return found


RECORDS = [
    {"image": f"{n}.png", "caption": f"café {n}", "category": "a", "split": "train", "negatives": ["b"]}
    for n in range(3)
]
IMAGES = [
    {"filepath": "", "filename": f"{n}.png", "split": "test", "sentences": [{"raw": f"text {n}"}]} for n in range(3)
]
TABLE = "id,image,caption,split\n" + "".join(f'{n},{n}.png,"café, {n}",train\n' for n in range(3))
SEEDS: dict[str, bytes] = {
    "t.csv": TABLE.encode(),
    "wide.csv": b"\xff\xfe" + TABLE.replace(",", ";").encode("utf-16-le"),
    "t.tsv": b"image\tcaption\n" + b"".join(b'%d.png\t"text" %d\n' % (n, n) for n in range(3)),
    "t.jsonl": "\n".join(map(json.dumps, RECORDS)).encode(),
    "t.json": json.dumps(RECORDS, ensure_ascii=False).encode(),
    "karpathy.json": json.dumps({"images": IMAGES}).encode(),
    "captions_val2017.json": json.dumps(
        {
            "images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)],
            "annotations": [{"image_id": n, "caption": f"text {n}"} for n in range(3)],
        }
    ).encode(),
    "pets_test.json": json.dumps(
        {str(n): {"file_name": str(n), "positive": "a", "negative": ["b"]} for n in range(3)}
    ).encode(),
    "results.token": b"".join(b"%d.png#%d\ttext %d\n" % (n, m, m) for n in range(3) for m in range(2)),
}


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_texts(name: str, place: Path, in_time: Callable[[], bool], tmp_path: Path) -> None:
    @fuzz(100)
    @given(EDITS)
    def damaged(edits: Edits) -> None:
        if in_time():
            (place / name).write_bytes(edited(SEEDS[name], edits))
            read_or_named(place / name)

    (place / name).write_bytes(SEEDS[name])
    assert read_or_named(place / name)
    damaged()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["0.png", "[", "['a' nan]", "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["raw", "text", "bytes", "path", "id", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
SHAPES = {
    "records": (
        ["image", "caption", "captions", "negatives", "split", "category", "image_id", "synthetic", "sentences"],
        lambda row: [row],
    ),
    "karpathy": (
        ["filename", "filepath", "split", "sentences"],
        lambda row: {"images": [*IMAGES, {**IMAGES[0], **row}]},
    ),
    "coco": (
        ["images", "annotations", "id", "file_name", "image_id"],
        lambda row: {
            "images": [{"id": 1, "file_name": "0.png"}, row],
            "annotations": [{"image_id": 1, "caption": "a"}, row],
            **row,
        },
    ),
    "fdrd": (
        ["file_name", "positive", "negative", "class_name"],
        lambda row: {"a": {"file_name": "0", "positive": "a", **row}, "b": row},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_other_shapes_of_json(shape: str, place: Path, in_time: Callable[[], bool]) -> None:
    keys, build = SHAPES[shape]
    path = place / "pets_test.json"

    @fuzz(120)
    @given(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1), st.booleans(), VALUES)
    def shaped(row: dict[str, Any], whole: bool, other: Any) -> None:
        if not in_time():
            return
        path.write_text(json.dumps(build(row) if whole else other))
        read_or_named(path, "auto" if whole else "json" if shape == "records" else shape)
        if shape == "records":
            (place / "s.jsonl").write_text(json.dumps({"image": "0.png", "caption": "a"} | row))
            read_or_named(place / "s.jsonl")

    shaped()


def test_damaged_caption_files_and_names(tmp_path: Path, in_time: Callable[[], bool]) -> None:
    draw_noise(tmp_path / "0.png", 0, 5, 5)

    @fuzz(60)
    @given(EDITS, st.text(max_size=8))
    def damaged(edits: Edits, name: str) -> None:
        if in_time():
            (tmp_path / "0.txt").write_bytes(edited("café\nzwei\n".encode(), edits))
            (tmp_path / "t.csv").write_text(
                f"image,caption\n{name!r},one\n0.png,two",
                encoding="utf-8",
                errors="replace",
            )
            read_or_named(tmp_path, "folder")
            read_or_named(tmp_path / "t.csv", images=tmp_path / "no\0thing" if not name else None)
            read_or_named(tmp_path / name if "/" not in name else Path(name))

    damaged()


def test_damaged_parquet(place: Path, in_time: Callable[[], bool]) -> None:
    cells = [{"bytes": (place / f"{n}.png").read_bytes(), "path": f"{n}.png"} for n in range(3)]
    parquet.write_table(pyarrow.table({"image": cells, "caption": [["a", "b"], ["c"], ["d"]]}), place / "t.parquet")
    content = (place / "t.parquet").read_bytes()
    assert read_or_named(place / "t.parquet")

    @fuzz(100)
    @given(EDITS)
    def damaged(edits: Edits) -> None:
        if in_time():
            (place / "t.parquet").write_bytes(edited(content, edits))
            read_or_named(place / "t.parquet")

    damaged()


def test_damaged_datasets(place: Path, tmp_path: Path, in_time: Callable[[], bool]) -> None:
    import datasets

    datasets.disable_progress_bars()
    rows = {"image": [str(place / f"{n}.png") for n in range(3)], "caption": ["a", "b", "c"]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.save_to_disk(tmp_path / "whole")
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert read_or_named(tmp_path / "whole")

    @fuzz(40)
    @given(st.sampled_from(files), EDITS)
    def damaged(name: str, edits: Edits) -> None:
        if in_time():
            shutil.copytree(tmp_path / "whole", tmp_path / "copy")
            (tmp_path / "copy" / name).write_bytes(edited((tmp_path / "whole" / name).read_bytes(), edits))
            read_or_named(tmp_path / "copy", "datasets")
            shutil.rmtree(tmp_path / "copy")

    damaged()


@pytest.mark.parametrize("name", ["bank.npy", "bank.safetensors", "bank.npy.json"])
def test_damaged_features(name: str, place: Path, tmp_path: Path, in_time: Callable[[], bool]) -> None:
    rows = np.eye(3, 4, dtype=np.float32)
    np.save(tmp_path / "bank.npy", rows)
    (tmp_path / "bank.safetensors").write_bytes(save({"rows": rows}))
    (tmp_path / "bank.npy.json").write_text('{"tower": "abc", "names": ["0.png", "1.png", "2.png"]}')
    (place / "f.csv").write_text("image,caption\n0.png,a\n1.png,b\n2.png,c\n")
    content = (tmp_path / name).read_bytes()

    @fuzz(60)
    @given(EDITS)
    def damaged(edits: Edits) -> None:
        if in_time():
            (tmp_path / name).write_bytes(edited(content, edits))
            bank = tmp_path / name.removesuffix(".json")
            pairs = read_or_named(place / "f.csv", features=bank)
            (place / "g.csv").write_text(f"image,caption\n{bank}#1,a\n{bank}#0.png,b\n")
            read_or_named(place / "g.csv")
            for image in pairs.images if pairs else ():
                try:
                    image.values()
                except CrosscueError as error:
                    assert is_line(error)

    damaged()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_images(form: str, in_time: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSCUE_MAX_PIXELS", "1000000")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 60).convert("RGB").save(
        buffer, form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP", "TIFF") else {})
    )
    spec = PixelSpec(8, (0, 0, 0), (1, 1, 1))

    @fuzz(70)
    @given(EDITS)
    def damaged(edits: Edits) -> None:
        if not in_time():
            return
        content = edited(buffer.getvalue(), edits)
        for read in (spec.read, open_image, peculiarities):
            try:
                read(EmbeddedImage("row 1", lambda: content))
            except CrosscueError as error:
                assert is_line(error)
                assert str(error).startswith("row 1: ")

    damaged()


def test_damaged_split_files(place: Path, tmp_path: Path, in_time: Callable[[], bool]) -> None:
    (place / "pets_test.json").write_bytes(SEEDS["pets_test.json"])
    content = json.dumps(
        {"train": [["0.jpg", 0, "a"]], "val": [["1.jpg", 0, "a"]], "test": [["2.jpg", 1, "b"]]}
    ).encode()

    @fuzz(60)
    @given(EDITS, VALUES, st.booleans())
    def damaged(edits: Edits, value: Any, whole: bool) -> None:
        if in_time():
            (tmp_path / "split.json").write_bytes(
                json.dumps({"test": value}).encode() if whole else edited(content, edits)
            )
            read_or_named(place / "pets_test.json", split_file=tmp_path / "split.json")

    damaged()
