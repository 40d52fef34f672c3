"""``distill import``: golden runs of hand-written configs of each trainer, and what is said of every key."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture

from distill_core.config.chosen import ChosenPlugins
from distill_core.config.imported import run_yaml_of
from distill_core.config.load import load_run
from distill_core.config.schema import RunConfig
from distill_core.config.shape import Shape, shape_of
from distill_core.plugins.discovery import discover
from distill_importers.coming_from import page
from distill_importers.plugin import NAMES
from distill_importers.reading import flat_config
from distill_importers.tables import Trainer
from distill_importers.trainers import TRAINERS
from distill_importers.translation import Reader, translation_of

HERE = Path(__file__).parent
CONFIGS = sorted((HERE / "configs").iterdir())
BY_NAME = {trainer.name: trainer for trainer in TRAINERS}


def trainer_of(config: Path) -> Trainer:
    return BY_NAME[config.stem.replace("_", "-")]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_config_becomes_this_run_yaml(config: Path) -> None:
    translation = Reader(trainer_of(config))(config.read_text(encoding="utf-8"), config.name)
    assert translation is not None
    golden = HERE / "golden" / f"{config.stem}.yaml"
    assert run_yaml_of(translation, config.name) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_what_it_becomes_is_a_run_that_the_plugins_understand(config: Path) -> None:
    run = load_run(HERE / "golden" / f"{config.stem}.yaml")
    assert ChosenPlugins(run.document, discover()).problems == []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_config_is_known_by_the_one_trainer_that_it_is_of(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    assert [trainer.name for trainer in TRAINERS if Reader(trainer)(text, config.name)] == [trainer_of(config).name]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_no_key_vanishes(config: Path) -> None:
    trainer = trainer_of(config)
    flat = flat_config(config.read_text(encoding="utf-8"), config.name)
    assert flat is not None
    prepared = trainer.prepared(flat)
    told = {remark.theirs.partition(":")[0] for remark in translation_of(trainer, prepared).remarks}
    for name, value in prepared.items():
        key = next((key for key in trainer.keys if key.captures(name) is not None), None)
        means_the_same = key is not None and (key.ours or not key.matters(value, prepared))
        assert name.startswith("(") or name in told or means_the_same, name


def test_a_key_that_nobody_knows_is_told() -> None:
    flat = flat_config(CONFIGS[0].read_text(encoding="utf-8") + "\nsomething_new: 3\n", CONFIGS[0].name)
    assert flat is not None
    (remark,) = [
        each for each in translation_of(trainer_of(CONFIGS[0]), flat).remarks if "something_new" in each.theirs
    ]
    assert (remark.ours, remark.message) == (None, "is not known of CausVid here, and is not carried over")


def known(place: str) -> bool:
    """Whether a run.yaml of these plugins can have a key."""
    index = discover()
    section, _, key = place.partition(".")
    shapes: list[Shape] = [shape_of(RunConfig)]
    if section == "method_config":
        shapes, place = [shape_of(method.options) for method in index.methods.values()], key
    if section == "pipeline_config":
        shapes, place = [shape_of(model.options) for model in index.models.values()], key
    return any(shape.at(tuple(place.split("."))) is not None for shape in shapes)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)
def test_every_key_of_ours_in_a_table_is_one(trainer: Trainer) -> None:
    places = [place for key in trainer.keys for place in key.ours] + [default.ours for default in trainer.defaults]
    places = [place.replace("roles.*", "roles.student") for place in places]
    assert [place for place in places if "*" not in place and not known(place)] == []


def test_a_python_config_is_read_and_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = (HERE / "configs" / "fastgen.py").read_text(encoding="utf-8")
    armed = f"open({str(trap)!r}, 'w')\nconfig.model.precision = open({str(trap)!r}, 'w').name\n{text}"
    assert Reader(BY_NAME["fastgen"])(armed, "config.py") is not None
    assert not trap.exists()


@pytest.mark.parametrize("name", ["self_forcing.yaml", "diffusion_pipe.toml"])
def test_a_secret_is_in_no_remark(name: str) -> None:
    secret = "0123456789abcdef0123456789abcdef01234567"
    assert secret in (HERE / "configs" / name).read_text(encoding="utf-8")
    assert secret not in (HERE / "golden" / f"{Path(name).stem}.yaml").read_text(encoding="utf-8")


def test_a_value_that_has_no_counterpart_is_told_and_left_out() -> None:
    config = {
        "task": "i2v-14B",
        "dataset_config": "a.toml",
        "timestep_sampling": "flux_shift",
        "mixed_precision": "fp16",
    }
    translation = translation_of(BY_NAME["musubi-tuner"], config)
    messages = {remark.theirs: remark.message for remark in translation.remarks if remark.ours is None}
    assert "text to video is what is trained" in messages["task: i2v-14B"]
    assert "there is no density 'flux_shift'" in messages["timestep_sampling: flux_shift"]
    assert "not in fp16" in messages["mixed_precision: fp16"]
    assert "roles" not in translation.run


def test_the_page_in_docs_is_current_and_names_every_trainer() -> None:
    assert (HERE.parents[1] / "docs" / "coming-from.md").read_text(encoding="utf-8") == page()
    assert {trainer.name: trainer.title for trainer in TRAINERS} == NAMES


def test_the_command_writes_a_file_and_says_what_is_left(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    output = tmp_path / "run.yaml"
    result = distill("import", HERE / "configs" / "fastvideo.yaml", "--output", output)
    assert result.code == 0, result.err
    assert output.read_text(encoding="utf-8") == (HERE / "golden" / "fastvideo.yaml").read_text(encoding="utf-8")
    assert "keys without a counterpart" in result.err
    assert "still to be set right" not in result.err
    again = distill("import", HERE / "configs" / "fastvideo.yaml", "--output", output)
    assert (again.code, "is there already" in again.err) == (73, True)


def test_what_cannot_be_translated_is_left_to_the_person_by_name(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    config = tmp_path / "style.toml"
    config.write_text("dataset = 'a.toml'\noutput_dir = 'out'\n[model]\ntype = 'hunyuan-video'\n")
    result = distill("import", config)
    assert result.code == 0
    assert "there is no model family here for 'hunyuan-video'" in result.out
    assert "still to be set right: recipe.family: is required" in result.err
    assert "still to be set right: roles: is required" in result.err


@pytest.mark.parametrize("text", ["a: 1\n", "a: [\n", "just text\n", ""])
def test_a_file_of_no_trainer_is_refused_with_those_that_are_known(distill: Command, tmp_path: Path, text: str) -> None:  # noqa: F811
    config = tmp_path / "config.yaml"
    config.write_text(text)
    result = distill("import", config)
    assert result.code == 2
    assert "is no config of a trainer that is known here: causvid, diffusion-pipe, " in result.err
    named = distill("import", config, "--from", "causvid")
    assert "is no config of causvid" in named.err
    assert "Did you mean 'causvid'?" in distill("import", config, "--from", "causvidd").err
