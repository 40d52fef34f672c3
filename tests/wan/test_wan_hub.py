"""Folders that are hub ids: what is fetched of them, and the one line that is said where nothing can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from distill_core.errors import ModelFolderError
from distill_model_wan.folder import inspect
from distill_model_wan.testing import Variant


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of this name lies here."""
    monkeypatch.chdir(tmp_path)


def answering(error: Exception) -> Any:
    """A hub that raises."""

    def download(*_: object, **__: object) -> str:
        raise error

    return download


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://hub"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LocalEntryNotFoundError("Got: ConnectError.\nPlease try again."), "could not be reached, nor does its cache"),
        (
            RepositoryNotFoundError("401.\n", response=answer(401)),
            "shows no repository of that name; check the spelling",
        ),
        (GatedRepoError("403.\n", response=answer(403)), "its authors grant access on the Hugging Face Hub"),
        (OSError("Disk quota exceeded.\nMore."), "refused it: Disk quota exceeded; check"),
    ],
    ids=["unreachable", "unknown", "gated", "other"],
)
def test_why_a_hub_id_cannot_be_had_is_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", answering(error))
    with pytest.raises(ModelFolderError, match=f"^some-org/some-wan is no folder here, and .*{words}") as refusal:
        inspect("some-org/some-wan")
    assert "\n" not in str(refusal.value)
    assert ".." not in str(refusal.value)


def test_offline_it_is_the_setting_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", answering(LocalEntryNotFoundError("no\nsnapshot.")))
    with pytest.raises(ModelFolderError, match=r"HF_HUB_OFFLINE forbids .*; unset it, or name a folder") as refusal:
        inspect("some-org/some-wan")
    assert "\n" not in str(refusal.value)


def test_of_a_hub_id_descriptions_come_first(pipelines: dict[Variant, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object, list[str]]] = []

    def download(repo_id: str, *, repo_type: str, revision: object, allow_patterns: list[str]) -> str:
        assert repo_type == "model"
        asked.append((repo_id, revision, allow_patterns))
        return str(pipelines["t2v"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert inspect("some-org/some-wan").folder.hub_id == "some-org/some-wan"
    ((repo_id, revision, patterns),) = asked
    assert (repo_id, revision) == ("some-org/some-wan", None)
    assert not any("safetensors" in pattern or pattern.endswith("/*") for pattern in patterns)
