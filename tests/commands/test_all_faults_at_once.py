"""Whatever is wrong with a run before it trains: in one error, at the file and line of its key, from all commands that check a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.commands.conftest import Command

from distill_core.errors import ModelFolderError, PluginError

RunYaml = Callable[..., Path]


def where(path: Path, key: str) -> str:
    """How a message begins that is about a dotted key of a file of write_yaml."""
    lines, last = path.read_text().splitlines(), -1
    for depth, segment in enumerate(key.split(".")):
        last = next(n for n in range(last + 1, len(lines)) if lines[n].startswith(f"{'  ' * depth}{segment}:"))
    return f"{path}:{last + 1}: {key}: "


@pytest.fixture
def told(distill: Command, tmp_path: Path) -> Callable[..., str]:
    """What `run`, `run --dry-run` and `config check` say of a run.yaml: the same, with the same exit status, and nothing is written."""

    def tell(path: Path, code: int) -> str:
        results = [distill("run", path), distill("run", path, "--dry-run"), distill("config", "check", path)]
        assert [result.code for result in results] == [code] * 3, results
        assert len({result.err for result in results}) == 1
        assert not (tmp_path / "run").exists()
        return results[0].err.removeprefix("error: ")

    return tell


def test_faults_of_schema_roles_folders_device_and_data_come_together(
    told: Callable[..., str], run_yaml: RunYaml, tiny: Path
) -> None:
    roles = {
        "student": {"path": str(tiny), "trainable": False},
        "teacher": {"path": str(tiny.parent / "gone"), "trainable": False, "weights": "bf16"},
        "critic": {"path": str(tiny), "learnin_rate": 1.0},
    }
    training = {"max_train_steps": 0, "train_batch_size": 2, "device": "cpu"}
    path = run_yaml(roles=roles, training=training, data={"path": str(tiny.parent / "nowhere")})
    lines = told(path, 2).splitlines()
    keys = (
        "roles.student.trainable", "roles.teacher.path", "roles.teacher.weights", "roles.critic.learnin_rate", "data.path",
        "training.max_train_steps",
    )  # fmt: skip
    assert len(lines) == len(keys)
    for line, key in zip(lines, keys, strict=True):
        assert line.startswith(where(path, key))


def test_data_sets_alone_keep_their_exit_status_and_each_has_its_line(
    told: Callable[..., str], run_yaml: RunYaml, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    data = {"path": str(tmp_path / "nowhere"), "mix": [{"path": str(tmp_path / "empty")}]}
    first, second = told(run_yaml("finetune", data=data), 65).splitlines()
    path = tmp_path / "run.yaml"
    assert first.startswith(where(path, "data.path"))
    number = 1 + path.read_text().splitlines().index(f"  - path: {tmp_path / 'empty'}")
    assert second.startswith(f"{path}:{number}: data.mix.0.path: {tmp_path / 'empty'} holds no parquet file")


def test_a_weight_of_no_data_set_hides_no_data_set_that_is_not_there(
    told: Callable[..., str], run_yaml: RunYaml, tmp_path: Path
) -> None:
    data = {"path": str(tmp_path / "nowhere"), "weights": {"here": 1.0}}
    path = run_yaml("finetune", data=data)
    keys = [line.split(": ")[1] for line in told(path, 2).splitlines()]
    assert keys == ["data.path", "data.weights.here"]


def test_a_data_set_without_a_weight_is_the_only_fault_of_data_that_are_there(
    told: Callable[..., str], run_yaml: RunYaml, encoded: Path
) -> None:
    path = run_yaml("finetune", data={"mix": [{"path": str(encoded), "name": "again"}], "weights": {"again": 1.0}})
    expected = f"{encoded.name} has no weight; where one data set has a weight, each needs one"
    assert told(path, 2) == f"{where(path, 'data.weights')}{expected}\n"


def test_a_size_that_the_data_do_not_have_is_at_its_own_key(told: Callable[..., str], run_yaml: RunYaml) -> None:
    path = run_yaml("finetune", data={"num_latent_t": 21})
    assert told(path, 65).startswith(where(path, "data.num_latent_t") + "21 latent frames are asked for")


def test_weights_narrower_than_the_forward_pass_are_named(
    told: Callable[..., str], run_yaml: RunYaml, tiny: Path
) -> None:
    teacher = {"path": str(tiny), "trainable": False, "weights": "bf16"}
    path = run_yaml(roles={"teacher": teacher}, training={"max_train_steps": 5})
    assert told(path, 2).startswith(where(path, "roles.teacher.weights") + "weights in bf16 do not fit")


def test_an_output_folder_of_someone_else_is_at_its_line_and_keeps_its_exit_status(
    distill: Command, run_yaml: RunYaml, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    path = run_yaml("finetune")
    for command in (("run", path), ("run", path, "--dry-run"), ("config", "check", path)):
        result = distill(*command)
        assert result.code == 73
        assert result.err.startswith(f"error: {where(path, 'output_dir')}{tmp_path / 'run'} is not empty")


def test_a_metric_that_cannot_measure_the_run_is_at_its_line(told: Callable[..., str], run_yaml: RunYaml) -> None:
    path = run_yaml("finetune", metrics={"shapes": {}})
    assert told(path, 65).startswith(where(path, "metrics.shapes"))


def test_config_check_says_ok_to_what_the_dry_run_takes(distill: Command, run_yaml: RunYaml) -> None:
    path = run_yaml("finetune")
    checked = distill("config", "check", path)
    assert (checked.code, checked.out) == (0, "ok\n")
    assert distill("run", path, "--dry-run").code == 0


def test_a_tracker_that_is_not_there_is_at_the_line_of_the_users_own_file(
    distill: Command, run_yaml: RunYaml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    path = run_yaml("finetune", tracking={"trackers": ["tensorboard"]})
    result = distill("run", path)
    assert result.code == 2
    assert f"error: {where(path, 'tracking.trackers')}tensorboard is not installed" in result.err


@pytest.mark.parametrize("kind", [ModelFolderError, PluginError])
def test_what_a_model_refuses_while_it_loads_is_at_the_line_of_its_role(
    distill: Command, run_yaml: RunYaml, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def refuses(*_: Any) -> None:
        raise kind("torn in transit")

    monkeypatch.setattr("distill_model_wan.model.WanModel.load_modules", refuses)
    path = run_yaml("finetune")
    result = distill("run", path)
    assert result.code == 2
    assert f"error: {where(path, 'roles.student.path')}torn in transit" in result.err


def test_a_role_that_would_never_step_is_named_with_the_remedy(told: Callable[..., str], run_yaml: RunYaml) -> None:
    path = run_yaml(training={"max_train_steps": 4})
    remedy = "role 'student' would not be trained in 4 steps; set this to at least 5, or step it more often"
    assert told(path, 2) == where(path, "training.max_train_steps") + remedy + "\n"


def test_the_dry_run_shows_the_learning_rate_that_each_role_gets(distill: Command, run_yaml: RunYaml) -> None:
    path = run_yaml(training={"max_train_steps": 5, "learning_rate": 2e-4})
    shown = distill("run", path, "--dry-run", "roles.critic.learning_rate=0.5", "roles.critic.lr_scheduler=linear").out
    assert "# student: trained, learning_rate 0.0002 (constant), wan, " in shown
    assert "# critic: trained, learning_rate 0.5 (linear), wan, " in shown
    assert "# teacher: frozen, wan, " in shown
    assert "learning_rate: null" not in shown


def test_a_run_of_relative_paths_is_exported_and_gone_on_with_from_another_directory(
    distill: Command, run_yaml: RunYaml, tiny: Path, encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "model").symlink_to(tiny)
    (here / "clips").symlink_to(encoded)
    path = run_yaml("finetune", roles={"student": {"path": "model"}}, data={"path": "clips"}, output_dir="out")
    monkeypatch.chdir(here)
    assert distill("run", path).code == 0
    assert (here / "out" / "run.yaml").read_bytes() == path.read_bytes()
    monkeypatch.chdir(elsewhere)
    exported = distill("export", here / "out", "--output", "exported")
    assert exported.code == 0, exported.err
    again = distill("run", here / "out" / "resolved.yaml")
    assert again.code == 0, again.err
    assert "step 2 of 2 is done already" in again.err
    assert [folder.name for folder in elsewhere.iterdir()] == ["exported"]
