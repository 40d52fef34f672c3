"""Each family from the command line: data, methods, a resume that is the same bit for bit, samples, an export, the README's YAML."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import REPOSITORY, Command, distill  # noqa: F401  the fixture
from tests.families.conftest import Family

from distill_core.config.document import write_yaml

FEW: Mapping[str, Any] = {"dmd_denoising_steps": [1000, 500], "generator_update_interval": 1}
WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, family: Family, data: Path) -> WriteRun:
    """``write_run("dmd2", steps=2, method_config={...})``: a run.yaml."""

    def write(method: str, name: str = "run", steps: int = 2, **sections: Mapping[str, Any]) -> Path:
        names = ("student", "teacher", "critic") if method == "dmd2" else ("student",)
        run = {
            "recipe": {"family": family.name, "method": method},
            "roles": {role: {"path": str(family.folder), "trainable": role != "teacher"} for role in names},
            "data": {"path": str(data)},
            "training": {"max_train_steps": steps, "train_batch_size": 2, "device": "cpu", "learning_rate": 1.0e-3},
            "output_dir": str(tmp_path / name),
            **sections,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(write_yaml(run), encoding="utf-8")
        return path

    return write


def weights(run: Path, step: int) -> dict[str, str]:
    """A hash of each tensor file of a checkpoint."""
    files = sorted((run / "checkpoints" / f"step-{step:08d}" / "dcp").rglob("*.distcp"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [("finetune", {}), ("dmd2", FEW), ("dmd2", {**FEW, "rollout": "data_latent"})],
    ids=["finetune", "dmd2-simulate", "dmd2-data_latent"],
)
def test_a_run_that_stopped_goes_on_bit_for_bit(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
    tmp_path: Path,
    method: str,
    settings: Mapping[str, Any],
) -> None:
    once = write_run(method, "once", steps=2, method_config=settings)
    assert distill("run", once).code == 0
    twice = write_run(method, "twice", steps=2, method_config=settings, checkpoint={"interval": 1})
    assert distill("run", twice, "training.max_train_steps=1").code == 0
    assert distill("run", twice, "checkpoint.resume=changed").code == 0
    found = weights(tmp_path / "once", 2)
    assert found
    assert weights(tmp_path / "twice", 2) == found


def test_a_run_of_the_readmes_yaml_is_sampled_and_exported(
    distill: Command,  # noqa: F811
    family: Family,
    data: Path,
    tmp_path: Path,
) -> None:
    readme = (REPOSITORY / "packages" / f"distill-model-{family.package}" / "README.md").read_text(encoding="utf-8")
    shown_of_all = re.findall(r"```yaml\n(.*?)```", readme, flags=re.DOTALL)
    (shown,) = [shown for shown in shown_of_all if f"family: {family.name}," in shown]
    assert family.facts.folder.kind.example in shown
    (tmp_path / "example.yaml").write_text(shown.replace(family.facts.folder.kind.example, str(family.folder)))
    smaller = ["training.max_train_steps=1", "training.train_batch_size=2", "training.precision=fp32"]
    smaller += ["method_config.generator_update_interval=1", "validation.interval=1"]
    run = tmp_path / "run"
    trained = distill("run", tmp_path / "example.yaml", *smaller, f"data.path={data}", f"output_dir={run}")
    assert trained.code == 0, trained.err
    suffix = "png" if family.facts.max_frames == 1 else "mp4"
    assert len(list((run / "samples").rglob(f"*.{suffix}"))) == 1
    exported = distill("export", run, "--output", tmp_path / "student")
    assert exported.code == 0, exported.err
    for source in (run, tmp_path / "student"):
        sampled = distill("sample", source, "--prompt", "a cat", "--output", tmp_path / f"clips-{source.name}")
        assert sampled.code == 0, sampled.err
    files = [next((tmp_path / f"clips-{name}").glob(f"*.{suffix}")).read_bytes() for name in ("run", "student")]
    assert files[0] == files[1]


@pytest.mark.parametrize("family", ["flux"], indirect=True)
def test_a_model_that_is_told_a_guidance_is_not_guided_besides_without_a_word(
    distill: Command,  # noqa: F811
    write_run: WriteRun,
) -> None:
    for scale, guided in ((4.0, True), (1.0, False)):
        run = write_run("dmd2", method_config={**FEW, "guidance_scale": scale})
        assert ("teacher is guided twice" in distill("run", run, "--dry-run").err) == guided
    refused = distill("run", write_run("finetune", pipeline_config={"embedded_guidance": -1.0}), "--dry-run")
    assert refused.code == 2
    assert "pipeline_config.embedded_guidance" in refused.err
