"""Data sets of the Hugging Face Hub: what is meant by a name, what is fetched of it, and the one line where nothing can be."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from data_sets import clip, write_clips
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from typer.testing import CliRunner

from distill_core.cli.data import app
from distill_core.config.data_sets import HubData, hub_data, listed_data
from distill_core.config.schema import Data
from distill_core.data.reading.hub_data import fetched
from distill_core.errors import DataError, RunDirectoryError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the paths that the tests name, only `data` is a folder here."""
    (tmp_path / "here" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")


class Hub:
    """A hub with one repository, in a folder; notes what it is asked."""

    def __init__(self, snapshots: Path) -> None:
        self.folder = snapshots / COMMIT
        self.asked: list[tuple[str, object, object, list[str]]] = []
        self.error: Exception | None = None

    def download(self, repo_id: str, *, repo_type: str, revision: object, allow_patterns: list[str]) -> str:
        """As huggingface_hub's snapshot_download."""
        self.asked.append((repo_id, repo_type, revision, allow_patterns))
        if self.error is not None:
            raise self.error
        return str(self.folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "snapshots")
    made.folder.mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.download)
    monkeypatch.setattr("huggingface_hub.is_offline_mode", lambda: False)
    return made


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("owner/clips", HubData("owner/clips", None)),
        ("owner/clips@v1.0", HubData("owner/clips", "v1.0")),
        (f"owner/clips@{COMMIT}", HubData("owner/clips", COMMIT)),
        ("clips", None),
        ("data/mistyped", None),
        ("./owner/clips", None),
        ("/owner/clips", None),
        ("owner/clips/part", None),
        ("owner/part.parquet", None),
        ("owner/clips@", None),
    ],
)
def test_what_can_only_be_a_hub_id_is_one(path: str, meant: HubData | None) -> None:
    assert hub_data(path) == meant


def test_a_folder_of_that_name_comes_first(hub: Hub) -> None:
    assert hub_data("owner/clips") is not None
    Path("owner/clips").mkdir(parents=True)
    assert fetched("owner/clips") == Path("owner/clips")
    assert not hub.asked


def test_the_parquet_files_of_a_revision_are_fetched_and_nothing_else(hub: Hub) -> None:
    write_clips(hub.folder / "train", [clip(0)])
    assert fetched("owner/clips") == fetched("owner/clips@v2") == hub.folder
    patterns = ["*.parquet", "**/*.parquet"]
    assert hub.asked == [("owner/clips", "dataset", None, patterns), ("owner/clips", "dataset", "v2", patterns)]


def test_a_data_set_without_parquet_files_is_refused_by_its_name(hub: Hub) -> None:
    with pytest.raises(DataError, match=r"^owner/clips on the Hugging Face Hub holds no parquet file"):
        fetched("owner/clips")


def answer(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://hub"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LocalEntryNotFoundError("Got: ConnectError.\nTry again."), "could not be reached, nor does its cache have it"),
        (RepositoryNotFoundError("401.\n", response=answer(401)), "shows no data set of that name; check the spelling"),
        (
            RevisionNotFoundError("404.\n", response=answer(404)),
            "has no branch, tag or commit 'v9'; check the spelling",
        ),
    ],
    ids=["unreachable", "unknown", "revision"],
)
def test_why_a_data_set_cannot_be_had_is_one_line_with_a_remedy(hub: Hub, error: Exception, words: str) -> None:
    hub.error = error
    with pytest.raises(DataError, match=f"^owner/clips is no folder here, and .*{words}") as refusal:
        fetched("owner/clips@v9")
    assert "\n" not in str(refusal.value)


def test_weights_call_it_by_its_name_without_owner_and_revision() -> None:
    data = Data.model_validate({"path": "owner/clips@v1.0", "weights": {"clips": 1}})
    assert [each.name for each in listed_data(data)] == ["clips"]


def test_inspect_and_validate_look_at_it_and_a_preview_needs_a_place(hub: Hub) -> None:
    write_clips(hub.folder, [clip(0), clip(1)])
    found = CliRunner().invoke(app, ["inspect", "owner/clips", "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["rows"] == 2
    assert CliRunner().invoke(app, ["validate", "owner/clips"]).stderr == "2 rows in 1 file: all good\n"
    with pytest.raises(RunDirectoryError, match="say where the page is to be with --output"):
        CliRunner().invoke(app, ["inspect", "owner/clips", "--preview", "1"], catch_exceptions=False)
    assert [path.name for path in hub.folder.iterdir()] == ["data-00000.parquet"]
