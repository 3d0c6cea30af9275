"""Filters against a Python filter over the same rows, and strings that would end a quotation."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

lancedb = pytest.importorskip("lancedb")

from crosscue.errors import OptionError  # noqa: E402
from crosscue.search.filters import COLUMNS, Term, checked_sql, expression_of, parsed  # noqa: E402

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        *(pa.field(name, pa.string()) for name in ("root", "path", "folder", "name", "format", "camera")),
        *(pa.field(name, pa.string()) for name in ("category", "split")),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("taken", pa.timestamp("us")),
        *(pa.field(name, pa.int32()) for name in ("width", "height")),
        pa.field("size", pa.int64()),
        *(pa.field(name, pa.float32()) for name in ("latitude", "longitude")),
    ]
)
HOSTILE = [
    "o'b",
    "a\\'b",
    "\\",
    "'",
    "''",
    "\\' OR 1=1 --",
    "x; DROP TABLE x",
    "`id`",
    "%",
    "_",
    "a/*b*/",
    "ü😀",
    "null",
]
WORDS = [*HOSTILE, "trips", "trips/a", "trips-b", "Canon EOS", "canon", "png", "jpeg", "gif", "Straße"]


def rows() -> list[dict[str, Any]]:
    """Forty rows whose values meet each other in many combinations; some are null."""
    return [
        {
            "id": f"{number:02}",
            "root": "r",
            "path": f"{WORDS[number % 22]}/{number}.png",
            "folder": WORDS[(number * 7) % 22],
            "name": WORDS[(number * 5) % 22],
            "format": WORDS[17 + number % 3],
            "camera": None if number % 3 == 0 else WORDS[number % 22],
            "category": None if number % 4 == 0 else WORDS[(number * 3) % 22],
            "split": "test",
            "captions": [] if number % 5 == 0 else [WORDS[number % 22], "a Birthday cake"][: 1 + number % 2],
            "taken": None if number % 6 == 0 else datetime(2023, 11, 28) + timedelta(days=9 * number, hours=number),
            "width": number * 100,
            "height": 300,
            "size": number * 1_000_000_000,
            "latitude": None if number % 2 else number / 2,
            "longitude": 1.5,
        }
        for number in range(40)
    ]


ROWS = rows()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    db = lancedb.connect(tmp_path_factory.mktemp("filters"))
    return db.create_table("rows", pa.Table.from_pylist(ROWS, SCHEMA))


def found(table: Any, terms: list[Term]) -> list[str]:
    return sorted(row["id"] for row in table.search().where(expression_of(terms)).limit(100).to_list())


def meets(row: dict[str, Any], term: Term) -> bool:
    """The meaning of a term, written without the code under test."""
    value, wanted = row[COLUMNS[term.name][0]], term.value
    if value is None or (value == [] and term.name == "caption"):
        return term.negative
    if term.name in ("width", "height", "size", "latitude", "longitude"):
        left, right = value, float(wanted)
    elif term.name == "taken":
        width = len(wanted)
        left, right = value.strftime("%Y-%m-%d")[:width], wanted
    elif term.name == "folder":
        held = value == wanted.strip("/") or value.startswith(wanted.strip("/") + "/")
        return held != term.negative
    elif term.name in ("format", "category", "split", "root"):
        return (value.lower() == wanted.lower()) != term.negative
    else:
        texts = value if isinstance(value, list) else [value]
        return any(wanted.lower() in text.lower() for text in texts) != term.negative
    held = {":": left == right, "=": left == right, ">": left > right, ">=": left >= right}
    held |= {"<": left < right, "<=": left <= right}
    return held[term.operator] != term.negative


ordered = st.sampled_from([":", "=", ">", ">=", "<", "<="])
terms = st.one_of(
    st.builds(
        Term,
        st.sampled_from(["folder", "name", "path", "format", "camera", "caption", "category", "split"]),
        st.sampled_from([":", "="]),
        st.sampled_from(WORDS) | st.text("abn'\"\\%_ ;-`é", min_size=1, max_size=4),
        st.booleans(),
    ),
    st.builds(
        Term,
        st.sampled_from(["width", "height", "size", "latitude", "longitude"]),
        ordered,
        st.sampled_from(["0", "300", "800", "1.5", "-3", "2000000000", "999999999999"]),
        st.booleans(),
    ),
    st.builds(
        Term,
        st.just("taken"),
        ordered,
        st.sampled_from(["2023", "2024", "2024-02", "2024-12", "2024-02-29"]),
        st.booleans(),
    ),
)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(chosen=st.lists(terms, min_size=1, max_size=3))
def test_a_filter_finds_what_python_finds(table: Any, chosen: list[Term]) -> None:
    assert found(table, chosen) == [row["id"] for row in ROWS if all(meets(row, term) for term in chosen)]


def test_the_filter_of_the_documentation_is_read() -> None:
    text = 'taken>=2024-06 camera:Canon folder:trips/ -format:gif width>2000 caption:"birthday cake"'
    assert parsed(text) == [
        Term("taken", ">=", "2024-06"),
        Term("camera", ":", "Canon"),
        Term("folder", ":", "trips/"),
        Term("format", ":", "gif", negative=True),
        Term("width", ">", "2000"),
        Term("caption", ":", "birthday cake"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("camra:Canon", r"there is no column 'camra'\. Did you mean 'camera'\? Choose from: camera, caption,"),
        ("taken>2024-13", r"taken: '2024-13' is no date \(2024, 2024-06, 2024-06-30\)\."),
        ("taken:2024-00", "is no date"),
        ("taken:9999", "is no date"),
        ("width>wide", r"width: 'wide' is no number\. Write one, such as width>800"),
        ("name>a", r"name: '>' compares numbers and dates\. Write name:a"),
        ("name:", r"name: there is no value\. Write one, such as name:dog"),
        ('caption:"open', "'caption:\"open' is no condition"),
        ("width > 3", "'width' is no condition"),
        ("1=1; DROP", "there is no column '1'"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_part(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parsed(text)


@pytest.mark.parametrize(
    "text",
    ["", "width > 3; DROP TABLE x", "width > 3 --", "width > 3) OR (1=1", "(width > 3", "name = 'a", "width /* */ > 3"],
)
def test_sql_that_ends_before_its_end_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"is not one expression in SQL\. Write one, such as --where"):
        checked_sql(text)


def test_sql_may_hold_such_signs_inside_quotes(table: Any) -> None:
    sql = checked_sql("(name = 'x; DROP TABLE x' OR name = 'o''b') AND width >= 0")
    rows = table.search().where(sql).limit(100).to_list()
    assert {row["name"] for row in rows} == {"x; DROP TABLE x", "o'b"}


def test_every_example_of_a_message_is_a_term() -> None:
    for name, (_, kind) in COLUMNS.items():
        from crosscue.search.filters import EXAMPLES

        assert re.sub('"', "", EXAMPLES[kind]) == parsed(f"{name}:{EXAMPLES[kind]}")[0].value
