"""Files of the user: encodings, refusals of the operating system, and lists in YAML."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosscue.errors import DataError, RunError
from crosscue.knowledge.captions.review import read_decisions
from crosscue.knowledge.views.record import ViewKnowledge
from crosscue.source_files import at_home, open_text, read_lists, read_text, reading

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@SHARED
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufeff")), st.sampled_from(ENCODINGS))
def test_unicode_is_read_in_every_form(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(text.encode(encoding))
    assert read_text(path) == text
    with open_text(path) as file:
        assert file.read() == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_recognised(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.txt").write_bytes("a text, café".encode(encoding))
    assert read_text(tmp_path / "t.txt") == "a text, café"


@SHARED
@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    for read in (read_text, lambda path: read_lists(path, "a: [b]")):
        try:
            read(tmp_path / "t.txt")
        except DataError as error:
            assert str(error).startswith(str(tmp_path / "t.txt"))
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, r"cannot be read \(permission denied\). Allow it: chmod u\+r 'a b'"),
        (errno.ENOENT, "there is no such file or folder. Check the path"),
        (errno.EISDIR, "this is a folder"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.ELOOP, "the link leads back to itself"),
        (errno.EIO, "cannot be read .* Check the path"),
    ],
)
def test_every_refusal_has_a_remedy(code: int, words: str) -> None:
    with pytest.raises(RunError, match=f"^a b: {words}"), reading(Path("a b"), RunError):
        raise OSError(code, "refused")


def test_the_home_of_nobody_is_left_as_written() -> None:
    assert at_home(Path("~no_such_user/x")) == Path("~no_such_user/x")


@pytest.mark.parametrize("text", ["a: [b", "- a", "a: b", "? [a]\n: [b]", "a: 2020-99-99", "a: &x [*x", "\t"])
def test_other_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "groups.yaml").write_text(text)
    with pytest.raises(DataError, match=r"groups.yaml: not .*Write one list a line, such as `animal: \[owl\]`"):
        read_lists(tmp_path / "groups.yaml", "animal: [owl]")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_decisions_may_come_back_from_a_spreadsheet(tmp_path: Path, delimiter: str) -> None:
    rows = (("id", "caption", "decision", "new_caption"), ("1", "a dog", "drop", ""), ("2", "a cat", "edit", "a cow"))
    text = "\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "review.csv").write_bytes(text.encode("utf-16"))
    found = read_decisions(tmp_path / "review.csv", {"1", "2"})
    assert {key: (one.decision, one.new_caption) for key, one in found.items()} == {
        "1": ("drop", ""),
        "2": ("edit", "a cow"),
    }


def test_views_of_another_shape_are_one_line(tmp_path: Path) -> None:
    views = '"views": {"global": "a", "background": "b", "entity": "c"}'
    (tmp_path / "views.jsonl").write_text('{"image_id": "1", "source": "x", "repeated": 5, ' + views + "}")
    with pytest.raises(DataError, match="line 1: needs image_id"):
        ViewKnowledge.load(tmp_path / "views.jsonl")
    (tmp_path / "views.jsonl").write_text('{"image_id": "1", "source": "x", "repeated": null, ' + views + "}")
    assert len(ViewKnowledge.load(tmp_path / "views.jsonl")) == 1
