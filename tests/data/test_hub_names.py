"""Names that may be a path or an id of the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest

import crosscue
from crosscue.data.readers import hub
from crosscue.errors import DataError, NetworkError
from tests.hub import serving


def test_a_mistyped_path_beside_a_folder_is_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "reachable", lambda name: pytest.fail("the Hub was looked up"))
    with pytest.raises(DataError, match="data/images: there is no such file or folder"):
        crosscue.read_pairs("data/images")


def test_a_name_that_is_nowhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(tmp_path, tmp_path / "cache", monkeypatch) as requested,
        pytest.raises(DataError, match="owner/images: there is no such file or folder, and no such dataset on the Hub"),
    ):
        crosscue.read_pairs("owner/images")
    assert requested[-1] == "/api/datasets/owner/images"


def test_without_a_network_the_path_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants

    def unreachable(*_: object, **options: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(HfApi, "dataset_info", unreachable)
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(
        NetworkError, match=r"owner/images: there is no such file or folder, and the Hub, .*cannot be reached"
    ):
        crosscue.read_pairs("owner/images")
    assert before == constants.HF_HUB_OFFLINE
