"""docs/write-a-diffusers-family.md: the package that it shows is built, installed, and trains what distill-model-wan trains."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from tests.commands.conftest import REPOSITORY, Command, distill  # noqa: F401  the fixture
from tests.docs.page_packages import install_page, package_files
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader

from distill_core.config.document import write_yaml
from distill_core.video.writing import write_mp4
from distill_model_wan.testing import make_tiny_pipeline

PAGE = REPOSITORY / "docs" / "write-a-diffusers-family.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the package was installed into by pip's own rules."""
    return install_page(PAGE, tmp_path_factory.mktemp("plainwan"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package as one of this environment's; forgotten afterwards."""
    monkeypatch.syspath_prepend(site)
    yield
    for name in [name for name in sys.modules if name.startswith("distill_model_plainwan")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Wan, and two clips of it."""
    folder = tmp_path_factory.mktemp("work")
    make_tiny_pipeline(folder / "tiny")
    lines = []
    for index, caption in enumerate(("a red square moves left", "a cat")):
        frames = torch.full((9, 32, 32, 3), 90 * index, dtype=torch.uint8)
        write_mp4(folder / "clips" / f"{index}.mp4", frames, 8.0)
        lines.append(json.dumps({"file_name": f"{index}.mp4", "caption": caption}))
    (folder / "clips" / "captions.jsonl").write_text("\n".join(lines))
    return folder


def trained(distill: Command, work: Path, family: str, options: dict[str, str]) -> dict[str, Tensor]:  # noqa: F811
    """The tensors that a run of the family leaves in its checkpoint."""
    settings = {
        "recipe": {"family": family, "method": "finetune"},
        "roles": {"student": {"path": str(work / "tiny"), "trainable": True}},
        "data": {"path": str(work / f"data-{family}")},
        "training": {"max_train_steps": 3, "train_batch_size": 2, "device": "cpu", "learning_rate": 1.0e-3},
        "pipeline_config": options,
        "output_dir": str(work / f"run-{family}"),
    }
    (work / f"{family}.yaml").write_text(write_yaml(settings), encoding="utf-8")
    data = ("--model", work / "tiny", "--family", family, "--output", work / f"data-{family}")
    for command in (("data", "encode", work / "clips", *data), ("run", work / f"{family}.yaml")):
        done = distill(*command)
        assert done.code == 0, done.err
    reader = FileSystemReader(work / f"run-{family}" / "checkpoints" / "step-00000003" / "dcp")
    described = reader.read_metadata().state_dict_metadata
    state = {name: torch.empty(tensor.size, dtype=tensor.properties.dtype) for name, tensor in described.items()}
    dcp.load(state, storage_reader=reader, no_dist=True)
    return state


@pytest.mark.xdist_group("plainwan")
@pytest.mark.usefixtures("installed")
def test_it_trains_the_weights_that_the_wan_package_trains(distill: Command, work: Path) -> None:  # noqa: F811
    plain = trained(distill, work, "plainwan", {})
    wan = trained(distill, work, "wan", {"text_padding": "full"})
    assert plain.keys() == wan.keys()
    assert [name for name in plain if not plain[name].equal(wan[name])] == []


@pytest.mark.xdist_group("plainwan")
@pytest.mark.usefixtures("installed")
def test_it_is_listed_and_works_with_every_shipped_method(distill: Command) -> None:  # noqa: F811
    rows = [line.split() for line in distill("plugins", "matrix").out.splitlines()]
    assert ["dmd2", "plainwan", "ok"] in rows
    assert ["finetune", "plainwan", "ok"] in rows
    checked = distill("plugins", "check")
    assert checked.code == 0, checked.out


def test_the_package_has_under_ninety_lines_of_its_own() -> None:
    files = package_files(PAGE)
    assert {name for name in files if name.endswith(".py")} == {
        f"distill_model_plainwan/{name}.py" for name in ("__init__", "folder", "model", "plugin")
    }
    code = [line for name, text in files.items() if name.endswith(".py") for line in text.splitlines() if line.strip()]
    assert len(code) < 90
