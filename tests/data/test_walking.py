"""distill_core.data.encoding.walking: no file of a folder is left out in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill_core.data.encoding.walking import walk


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The files, and what was passed over with its reason, by their paths inside the folder."""
    result = walk(folder)
    files = [path.relative_to(folder).as_posix() for path in result.files]
    return files, {each.path.relative_to(folder).as_posix(): each.reason for each in result.passed_over}


def test_files_of_folders_below_are_found_in_the_order_of_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a/c.mp4", "a.mp4", "a b/d.MP4")
    assert found(tmp_path) == (["a/c.mp4", "a b/d.MP4", "a.mp4", "b.mp4"], {})


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/b.mp4", "set/a.mp4")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "set" / "again").symlink_to("../elsewhere", target_is_directory=True)
    (tmp_path / "set" / "c.mp4").symlink_to(tmp_path / "elsewhere" / "b.mp4")
    assert found(tmp_path / "set") == (["a.mp4", "again/b.mp4", "c.mp4", "more/b.mp4"], {})


@pytest.mark.parametrize("target", [".", "..", "../../a"])
def test_a_circle_of_links_is_gone_round_once(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "a/b/c.mp4")
    (tmp_path / "a" / "b" / "round").symlink_to(target, target_is_directory=True)
    files, passed_over = found(tmp_path / "a")
    assert files == ["b/c.mp4"]
    assert passed_over == {"b/round": "it is a link to a folder that it lies in"}


def test_a_link_that_leads_nowhere_is_named_with_where_it_leads(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "folder").symlink_to("/no/such/folder", target_is_directory=True)
    assert found(tmp_path) == (
        ["a.mp4"],
        {
            "folder": "it is a link to /no/such/folder, which is not there",
            "gone.mp4": "it is a link to nowhere.mp4, which is not there",
        },
    )


def test_hidden_folders_are_passed_over_and_named_where_they_hold_clips(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", ".git/config", ".trash/deep/b.MP4", "_raw/c.png", "._a.mp4", "_d.mp4")
    assert found(tmp_path) == (
        ["a.mp4"],
        {
            ".trash": "files and folders whose names begin with . or _ are hidden",
            "_d.mp4": "files and folders whose names begin with . or _ are hidden",
            "_raw": "files and folders whose names begin with . or _ are hidden",
        },
    )


def test_a_folder_with_the_name_of_a_video_is_looked_into(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4/b.mp4")
    (tmp_path / "empty.mp4").mkdir()
    assert found(tmp_path) == (["a.mp4/b.mp4"], {"empty.mp4": "it is a folder, and holds no clip"})


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "b.mp4")
    assert found(tmp_path) == (["a.mp4"], {"b.mp4": "it is no file, but a device, a pipe or a socket"})


def test_a_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "b.mp4").symlink_to("b.mp4")
    assert found(tmp_path) == (["a.mp4"], {"b.mp4": "it cannot be looked at: Too many levels of symbolic links"})


def test_an_entry_that_cannot_be_looked_at_is_named_and_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.mp4", ".locked/b.mp4")

    def locked(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("distill_core.data.encoding.walking.holds_clips", locked)
    assert found(tmp_path) == (["a.mp4"], {".locked": "it cannot be looked at: Permission denied"})
