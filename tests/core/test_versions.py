"""Of which versions the code of a run is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distill_core.running.versions import versions_below


def installed(folder: Path, name: str, version: str, *required: str) -> None:
    """A package's record, as an installer leaves it."""
    record = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    record.mkdir()
    needs = "".join(f"Requires-Dist: {each}\n" for each in required)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")


def test_what_a_package_requires_is_told_but_for_extras_builds_what_is_far_and_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    needs = (
        "Lower.One>=2",
        "of-another-system; sys_platform == 'none'",
        'extra-one[x]>1; python_version > "3" and extra == "more"',
    )
    installed(tmp_path, "upper", "1.0", "distill-core", *needs)
    installed(tmp_path, "lower-one", "2.5+cpu", "far")
    installed(tmp_path, "distill-core", "4", "torch")
    for name in ("extra-one", "far", "torch"):
        installed(tmp_path, name, "3.0")
    core = {"distill-core": "4", "torch": "3.0"}
    assert versions_below(["upper"]) == {"upper": "1.0", "lower-one": "2.5", **core}
    assert versions_below([]) == core


def test_what_this_package_rests_on_is_told() -> None:
    found = versions_below(["distill-model-wan"]).keys()
    assert {"distill-core", "distill-model-wan", "distill-diffusers", "diffusers", "torch"} <= found
    assert "certifi" not in found
