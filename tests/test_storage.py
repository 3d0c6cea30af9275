"""JSON and JSON Lines on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crosscue.errors import DataError, RunError, StorageError
from crosscue.storage import read_json, read_lines, write_json, write_lines, write_text


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    content = {"name": "Zoë", "values": [1, 2.5, None]}
    write_json(tmp_path / "new" / "one.json", content)
    assert read_json(tmp_path / "new" / "one.json") == content
    assert "Zoë" in (tmp_path / "new" / "one.json").read_text(encoding="utf-8")
    write_lines(tmp_path / "rows.jsonl", [content, content])
    assert [row for _, row in read_lines(tmp_path / "rows.jsonl")] == [content, content]


def test_a_broken_file_is_named_with_its_line_and_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text('{"a": 1,\n"b": }')
    with pytest.raises(RunError, match=r"one.json line 2: not valid JSON \(Expecting value\). Adapt again."):
        read_json(file, RunError, "Adapt again.")
    file.write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"one.json line 1: not UTF-8 \(byte 0xff\).* iconv -f WINDOWS-1252"):
        read_json(file)
    with pytest.raises(RunError, match=r"none.json: there is no such file or folder.* Adapt again."):
        read_json(tmp_path / "none.json", RunError, "Adapt again.")
    file.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(DataError, match=r"one.json line 2: must be a JSON object"):
        list(read_lines(file))


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_lines(file, [{"a": 1}])

    def failing() -> Iterator[dict[str, Any]]:
        yield {"a": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(file, failing())
    assert file.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"this is a folder\. Name a file"):
        write_text(tmp_path, "text")
