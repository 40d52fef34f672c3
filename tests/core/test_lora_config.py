"""What a run.yaml may not say of LoRAs and of bases: one clear error each, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.core.conftest import INDEX, ToyWorld, methods
from tests.core.small_methods import SMALL

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import ConfigError, DistillError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.lora import LoraSupport
from distill_core.running.preparation import prepare
from distill_core.testing.toy_spec import TOY


def mapping(world: ToyWorld, **roles: Mapping[str, Any]) -> dict[str, Any]:
    """A DMD2 run with these keys at its roles."""
    run = world.mapping("dmd2")
    for name, keys in roles.items():
        kept = {key: value for key, value in {**run["roles"][name], **keys}.items() if value is not None}
        run["roles"][name] = kept
    return run


def fault(world: ToyWorld, run: Mapping[str, Any], index: PluginIndex = INDEX) -> tuple[str, str]:
    """The one problem: its key and what it says."""
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        prepare(open_run(path, [], index))
    (problem,) = caught.value.problems
    return problem.key, problem.message


LORA: dict[str, Any] = {"lora": {}}


@pytest.mark.parametrize(
    ("roles", "key", "says"),
    [
        ({"student": {"lora": {"rank": 0}}}, "roles.student.lora.rank", "at least 1"),
        ({"student": {"lora": {"targets": ["attn9"]}}}, "roles.student.lora.targets", "means no linear layer"),
        ({"student": {"lora": {"targets": []}}}, "roles.student.lora.targets", "at least 1"),
        (
            {"student": {"lora": {"targets": [""]}}, "teacher": {"path": None, "base": "student"}},
            "roles.student.lora.targets.0",
            "not empty",
        ),
        (
            {"student": {"lora": True}, "teacher": {"path": None, "base": "student"}},
            "roles.student.lora",
            "must be a mapping",
        ),
        ({"student": {"lora": {"dropout": 1}}}, "roles.student.lora.dropout", "below 1"),
        ({"teacher": LORA}, "roles.teacher.lora", "name the file of one under fixed_loras"),
        ({"critic": {"path": None, "base": "teacher"}}, "roles.critic.base", "trains all of its weights"),
        ({"teacher": {"path": None, "base": "student"}}, "roles.teacher.base", "add `lora: {}` there"),
        ({"critic": {**LORA, "path": None, "base": "teachr"}}, "roles.critic.base", "this run has no role 'teachr'"),
        ({"critic": {**LORA, "base": "teacher"}}, "roles.critic.base", "has another `path` than 'teacher'"),
        (
            {"critic": {**LORA, "path": None, "base": "teacher", "weights": "bf16"}},
            "roles.critic.base",
            "shared weights are held once",
        ),
        ({"student": {"fixed_loras": [{"path": "none"}]}}, "roles.student.fixed_loras.0.path", "there is no file"),
    ],
)
def test_what_cannot_be_is_refused_by_name(world: ToyWorld, roles: dict[str, Any], key: str, says: str) -> None:
    found, message = fault(world, mapping(world, **roles))
    assert found == key
    assert says in message


def test_bases_in_a_circle_are_refused(world: ToyWorld) -> None:
    run = mapping(
        world, student={**LORA, "path": None, "base": "critic"}, critic={**LORA, "path": None, "base": "student"}
    )
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_run(path, [], INDEX)
    assert {problem.key for problem in caught.value.problems} == {"roles.student.base", "roles.critic.base"}
    assert "goes in a circle: 'critic' comes back to 'student'" in str(caught.value)


def test_a_base_of_another_family_is_refused(world: ToyWorld) -> None:
    index = PluginIndex.of(models=[TOY, _renamed("other")], methods=methods())
    found, message = fault(
        world, mapping(world, critic={**LORA, "path": None, "base": "teacher", "family": "other"}), index
    )
    assert found == "roles.critic.base"
    assert "role 'teacher' is of model 'toy', this one of 'other'" in message


def _renamed(name: str, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(TOY, name=name, **changes)


def test_a_module_of_the_methods_own_and_a_follower_have_no_lora(world: ToyWorld) -> None:
    run = world.mapping("finetune")
    run["recipe"]["method"] = "small"
    run["roles"] |= {"target": {"trainable": False, "lora": {}}, "head": {"lora": {}}}
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_run(path, [], PluginIndex.of(models=[TOY], methods=[SMALL]))
    assert {problem.key for problem in caught.value.problems} == {"roles.target.lora", "roles.head.lora"}
    assert all("has no lora; remove it" in problem.message for problem in caught.value.problems)


def test_a_family_that_reads_no_lora_files_refuses_them(world: ToyWorld) -> None:
    index = PluginIndex.of(models=[_renamed("toy", lora=LoraSupport())], methods=methods())
    found, message = fault(world, mapping(world, student={"fixed_loras": [{"path": str(world.root)}]}), index)
    assert (found, message) == ("roles.student.fixed_loras.0.path", "model 'toy' reads no LoRA files; remove it")


def test_targets_of_a_family_that_cannot_tell_are_refused_when_its_layers_are_there(world: ToyWorld) -> None:
    silent = _renamed("toy", lora=LoraSupport())
    index = PluginIndex.of(models=[silent], methods=methods())
    run = mapping(world, student={"lora": {"targets": ["nothing.*"]}})
    path = world.root / "run.yaml"
    path.write_text(write_yaml(run), encoding="utf-8")
    prepared = prepare(open_run(path, [], index))
    from distill_core.running.roles import RoleBuilder, build_models

    models = build_models(prepared.run, prepared.placement)
    with pytest.raises(ConfigError, match=r"roles\.student\.lora\.targets: 'nothing\.\*' means no linear layer"):
        RoleBuilder(prepared.run, models, prepared.placement, prepared.latent_shape, lambda _: None).build()


@pytest.mark.parametrize(
    "content",
    [
        "no LoRA",
        {"denoiser.layers.9": (torch.ones(1, 1), torch.ones(1, 1), 1.0)},
        {"denoiser.layers.2": (torch.ones(1, 16), torch.ones(3, 1), 1.0)},
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_weights_are_loaded(world: ToyWorld, content: object) -> None:
    file = world.root / "odd.pt"
    if isinstance(content, str):
        file.write_text(content)
    else:
        torch.save(content, file)
    found, message = fault(world, mapping(world, student={"fixed_loras": [{"path": str(file)}]}))
    assert found == "roles.student.fixed_loras.0.path"
    assert "holds no LoRA" in message or "it is of another model" in message


def test_a_rank_that_no_layer_has_is_told_before_training(world: ToyWorld) -> None:
    path = world.root / "run.yaml"
    notes = {}
    for rank in (10, 11):
        path.write_text(write_yaml(mapping(world, student={"lora": {"rank": rank}})), encoding="utf-8")
        notes[rank] = [note for note in open_run(path, [], INDEX).notes if "rank" in note]
    assert not notes[10]
    assert "no layer of this LoRA is of a higher rank than" in notes[11][0]


def test_weights_under_a_lora_may_be_of_sixteen_bits_and_trained_ones_not(world: ToyWorld) -> None:
    run = mapping(world, student={**LORA, "weights": "bf16"})
    run["training"]["precision"] = "bf16"
    world.resolved(run)
    found, _ = fault(world, {**run, "roles": {**run["roles"], "student": {**run["roles"]["student"], "lora": None}}})
    assert found == "roles.student.weights"


def test_a_base_is_written_down_as_the_folder_that_it_means(world: ToyWorld) -> None:
    run = world.resolved(mapping(world, critic={**LORA, "path": None, "base": "teacher"}))
    critic = run.to_mapping()["roles"]["critic"]
    assert (critic["base"], critic["path"]) == (None, str(world.root / "teacher"))
    assert world.resolved(run.to_mapping()).config == run.config


def test_a_run_from_before_loras_goes_on(world: ToyWorld) -> None:
    from distill_core.running.continuation import differences

    now = world.resolved(world.mapping("dmd2")).to_mapping()
    before = {
        **now,
        "roles": {
            name: {key: value for key, value in role.items() if key not in ("base", "lora", "fixed_loras")}
            for name, role in now["roles"].items()
        },
    }
    assert not differences(before, now)
    with_lora = world.resolved(mapping(world, student=LORA)).to_mapping()
    assert any(line.startswith("roles.student.lora") for line in differences(before, with_lora))


def _export(world: ToyWorld, monkeypatch: pytest.MonkeyPatch, by_itself: bool, **keys: Any) -> Path:
    from distill_core.cli.export import export
    from distill_core.plugins import discovery

    run = world.mapping("finetune")
    run["roles"]["student"] |= keys
    directory = world.train(run)
    monkeypatch.setattr(discovery, "discover", lambda: INDEX)
    out = world.root / "out"
    export(
        run=directory.root,
        output=out,
        role=None,
        step=None,
        averaged=True,
        dtype="float32",
        timesteps="1000",
        base=None,
        as_json=False,
        lora=by_itself,
    )
    return out


def test_an_export_holds_the_lora_merged(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    out = _export(world, monkeypatch, False, **LORA)
    from distill_core.finished.restore import restore_role
    from distill_core.running.preparation import Placement

    placement = Placement(torch.device("cpu"), torch.float32)
    role = restore_role(world.root / "run", INDEX, None, step=None, averaged=True, placement=placement).role
    assert role.lora is not None
    weights = torch.load(out / "denoiser.pt", weights_only=True)
    before = {name: tensor.clone() for name, tensor in role.container["denoiser"].state_dict().items()}
    pair = role.lora.pair("denoiser.layers.0")
    expected = before["layers.0.weight"] + pair.lora_B.weight @ pair.lora_A.weight
    torch.testing.assert_close(weights["layers.0.weight"], expected.detach())
    assert not weights["layers.0.weight"].equal(before["layers.0.weight"])
    assert weights["layers.2.weight"].equal(before["layers.2.weight"])


def test_an_exported_lora_is_a_style_of_another_run(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    out = _export(world, monkeypatch, True, **LORA)
    run = mapping(world, student={"path": str(world.root / "student"), "fixed_loras": [{"path": str(out)}]})
    prepare(world.resolved(run))


def test_a_role_without_a_lora_exports_none(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DistillError, match="trained all of its weights and no LoRA"):
        _export(world, monkeypatch, True)


def test_lora_files_that_moved_along_with_a_run_are_found(tmp_path: Path) -> None:
    from distill_core.finished.relocation import relocated

    (tmp_path / "new" / "run").mkdir(parents=True)
    (tmp_path / "new" / "style.pt").touch()
    old = str(tmp_path / "old")
    lora = {"path": f"{old}/style.pt", "scale": 0.5, "part": None}
    roles = {"student": {"path": None, "fixed_loras": [lora, {**lora, "path": "hub/style"}]}, "teacher": {"path": None}}
    overrides = relocated({"roles": roles, "output_dir": f"{old}/run"}, tmp_path / "new" / "run")
    place = str(tmp_path / "new" / "style.pt")
    assert overrides[1:] == [
        f'roles.student.fixed_loras=[{{"path": "{place}", "scale": 0.5, "part": null}}, '
        '{"path": "hub/style", "scale": 0.5, "part": null}]'
    ]
