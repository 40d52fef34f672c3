"""``distill import``: golden runs of hand-written configs of each trainer, and what is said of every key."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.commands.conftest import Command, distill  # noqa: F401  the fixture

from distill_core.config.chosen import ChosenPlugins
from distill_core.config.imported import run_yaml_of
from distill_core.config.load import load_run
from distill_core.config.schema import RunConfig
from distill_core.config.shape import Shape, shape_of
from distill_core.plugins.discovery import discover
from distill_importers.coming_from import page
from distill_importers.datasets import DataFile
from distill_importers.plugin import NAMES
from distill_importers.reading import flat_config
from distill_importers.tables import Trainer
from distill_importers.trainers import TRAINERS
from distill_importers.translation import Reader, translation_of

HERE = Path(__file__).parent
CONFIGS = sorted((HERE / "configs").iterdir())
BY_NAME = {trainer.name: trainer for trainer in TRAINERS}


def beside(name: str) -> str | None:
    """No other file is there."""
    return None


def trainer_of(config: Path) -> Trainer:
    return BY_NAME[config.stem.replace("_", "-")]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_a_config_becomes_this_run_yaml(config: Path) -> None:
    translation = Reader(trainer_of(config))(config.read_text(encoding="utf-8"), config.name, beside)
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
    assert [trainer.name for trainer in TRAINERS if Reader(trainer)(text, config.name, beside)] == [
        trainer_of(config).name
    ]


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


@cache
def sections() -> dict[str, list[Shape]]:
    """The shapes that a run.yaml of these plugins can have: of its own sections, under "", and of each that is a plugin's."""
    index = discover()
    return {
        "": [shape_of(RunConfig)],
        "method_config": [shape_of(method.options) for method in index.methods.values()],
        "pipeline_config": [shape_of(model.options) for model in index.models.values()],
    }


def known(place: str) -> bool:
    """Whether a run.yaml of these plugins can have a key."""
    section, _, key = place.partition(".")
    shapes, key = (sections()[section], key) if section in sections() else (sections()[""], place)
    return any(shape.at(tuple(key.split("."))) is not None for shape in shapes)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)
def test_every_key_of_ours_in_a_table_is_one(trainer: Trainer) -> None:
    places = [place for key in trainer.keys for place in key.ours] + [default.ours for default in trainer.defaults]
    places = [place.replace("roles.*", "roles.student") for place in places]
    assert [place for place in places if "*" not in place and not known(place)] == []


def test_a_python_config_is_read_and_not_executed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = (HERE / "configs" / "fastgen.py").read_text(encoding="utf-8")
    armed = f"open({str(trap)!r}, 'w')\nconfig.model.precision = open({str(trap)!r}, 'w').name\n{text}"
    assert Reader(BY_NAME["fastgen"])(armed, "config.py", beside) is not None
    assert not trap.exists()


@pytest.mark.parametrize("name", ["self_forcing.yaml", "diffusion_pipe.toml"])
def test_a_secret_is_in_no_remark(name: str) -> None:
    secret = "0123456789abcdef0123456789abcdef01234567"
    assert secret in (HERE / "configs" / name).read_text(encoding="utf-8")
    assert secret not in (HERE / "golden" / f"{Path(name).stem}.yaml").read_text(encoding="utf-8")


def test_a_value_that_has_no_counterpart_is_told_and_left_out() -> None:
    config = {
        "task": "t2i-14B",
        "dataset_config": "a.toml",
        "timestep_sampling": "flux_shift",
        "mixed_precision": "fp16",
    }
    translation = translation_of(BY_NAME["musubi-tuner"], config)
    messages = {remark.theirs: remark.message for remark in translation.remarks if remark.ours is None}
    assert "text and pictures to video are what is trained" in messages["task: t2i-14B"]
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
    config.write_text("dataset = 'a.toml'\noutput_dir = 'out'\n[model]\ntype = 'chroma'\n")
    result = distill("import", config)
    assert result.code == 0
    assert "there is no model family here for chroma" in result.out
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


def imported(distill: Command, folder: Path, name: str, text: str) -> tuple[str, str]:  # noqa: F811
    """The run.yaml of a config, and what is said beside it."""
    (folder / name).write_text(text, encoding="utf-8")
    result = distill("import", folder / name)
    assert result.code == 0, result.err
    return result.out, result.err


FASTVIDEO_RUN = """
models: {{student: {{_target_: fastvideo.train.models.{model}, init_from: folder}}}}
method: {{_target_: fastvideo.train.methods.{method}}}
training: {{loop: {{max_train_steps: 3}}, data: {{data_path: data}}}}
"""


@pytest.mark.parametrize(
    ("method", "ours"),
    [
        ("distribution_matching.self_forcing.SelfForcingMethod", "self-forcing"),
        ("fine_tuning.dfsft.DiffusionForcingSFTMethod", "diffusion-forcing"),
        ("knowledge_distillation.kd.KDMethod", "kd"),
        ("rl.diffusion_nft.DiffusionNFTMethod", "nft"),
    ],
)
def test_a_method_of_theirs_is_the_same_one_here(distill: Command, tmp_path: Path, method: str, ours: str) -> None:  # noqa: F811
    out, _ = imported(distill, tmp_path, "a.yaml", FASTVIDEO_RUN.format(model="wan.WanModel", method=method))
    assert f"method: {ours}" in out
    assert "family: wan" in out


def test_a_model_of_no_family_here_is_called_none(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    text = FASTVIDEO_RUN.format(model="ltx2.LTX2Model", method="fine_tuning.finetune.FineTuneMethod")
    out, err = imported(distill, tmp_path, "a.yaml", text)
    assert "family: wan" not in out
    assert "there is no model family here for" in out
    assert "still to be set right: recipe.family: is required" in err


def test_a_python_config_that_stands_on_another_is_known_by_it(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    text = "import fastgen.configs.experiments.EDM.config_tcm_in64 as base\nconfig = base.create_config()\nconfig.model.net = SDXLConfig\n"
    out, err = imported(distill, tmp_path, "a.py", text)
    assert "method: tcm" in out
    assert "there is no model here for SDXLConfig" in out
    assert "still to be set right: recipe.family: is required" in err


def test_an_option_that_the_method_here_does_not_have_is_told_and_left_out(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    text = "import fastgen.configs.methods.config_sft\nconfig.model.net = Wan_1_3B_Config\nconfig.model.sample_t_cfg.min_t = 0.001\n"
    out, err = imported(distill, tmp_path, "a.py", text)
    assert "model.sample_t_cfg.min_t: 0.001 — 'finetune' has no min_timestep_ratio" in out
    assert "still to be set right" not in err


def test_the_settings_of_a_lora_come_along(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    lora = "lora: {enable: ENABLE, rank: 8, alpha: 16, target_modules: [to_q, ffn.net.2]}, init_from: folder"
    text = FASTVIDEO_RUN.format(model="wan.WanModel", method="FineTuneMethod").replace("init_from: folder", lora)
    out, _ = imported(distill, tmp_path, "a.yaml", text.replace("ENABLE", "true"))
    assert load_run_text(out)["roles"]["student"]["lora"] == {"rank": 8, "alpha": 16, "targets": ["attention+mlp"]}
    out, _ = imported(distill, tmp_path, "a.yaml", text.replace("ENABLE", "false"))
    assert "lora" not in load_run_text(out)["roles"]["student"]


def load_run_text(text: str) -> dict[str, Any]:
    data = yaml.safe_load(text)
    assert isinstance(data, dict)
    return data


MUSUBI_DATA = """
[general]
resolution = [960, 544]
batch_size = 2
[[datasets]]
video_directory = "clips of mine"
target_frames = [1, 33]
num_repeats = 3
frame_extraction = "head"
[[datasets]]
image_jsonl_file = "pictures/all.jsonl"
resolution = 512
"""


def test_the_file_of_the_data_is_read_beside_the_config(distill: Command, tmp_path: Path) -> None:  # noqa: F811
    config = (HERE / "configs" / "musubi_tuner.toml").read_text(encoding="utf-8")
    (tmp_path / "clips.toml").write_text(MUSUBI_DATA)
    out, _ = imported(distill, tmp_path, "a.toml", config)
    said = " ".join(line.strip().removeprefix("#").strip() for line in out.splitlines())
    model = "--model Wan-AI/Wan2.1-T2V-1.3B-Diffusers --output data"
    assert f"distill data encode 'clips of mine' {model} --bucket 544x960 --bucket 33x544x960`" in said
    assert f"distill data encode pictures --captions pictures/all.jsonl {model} --bucket 512x512`" in said
    assert "clips.toml: num_repeats: 3 — a data set to be seen more often is one of its own" in said
    assert "clips.toml: batch_size: 2 — training.train_batch_size is the batch here" in said
    assert "frame_extraction" not in said


def test_sides_of_squares_and_exact_sizes_are_told_as_buckets() -> None:
    data = {
        "resolutions": [512, [832, 480]],
        "frame_buckets": [1, 17],
        "directory": [{"path": "a"}, {"path": "b", "size_buckets": [[64, 32, 9]]}],
    }
    file = DataFile("dataset", "directory", "")
    remarks = list(file.remarks({"dataset": "d.toml"}, None, lambda name: toml_of(data)))
    assert [remark.message.partition("`;")[0] for remark in remarks] == [
        "made by `distill data encode a --model MODEL --output data --bucket 512x512 --bucket 17x512x512 --bucket 480x832 "
        "--bucket 17x480x832",
        "made by `distill data encode b --model MODEL --output data --bucket 9x32x64",
    ]


def toml_of(data: dict[str, Any]) -> str:
    top = "".join(f"{key} = {value}\n" for key, value in data.items() if key != "directory")
    tables = [
        "[[directory]]\n" + "".join(f"{key} = {value!r}\n" for key, value in each.items()) for each in data["directory"]
    ]
    return top + "".join(tables)


@pytest.mark.parametrize("text", [None, "not = [toml", "directory = 3\n", "[[directory]]\nname = 'no path'\n"])
def test_a_file_of_the_data_that_cannot_be_read_is_told_with_what_it_would_say(text: str | None) -> None:
    (remark,) = DataFile("dataset", "directory", "").remarks({"dataset": "d.toml"}, None, lambda name: text)
    assert (remark.theirs, remark.ours) == ("dataset: d.toml", "data.path")
    assert "--bucket FRAMESxHEIGHTxWIDTH" in remark.message


MUSUBI = {"task": "t2v-14B", "dataset_config": "a.toml"}
LORA = {**MUSUBI, "network_module": "networks.lora_wan"}
PIPE = {"model.type": "wan", "dataset": "a.toml", "adapter.type": "lora"}


@pytest.mark.parametrize(
    ("trainer", "config", "place", "value"),
    [
        ("musubi-tuner", {**LORA, "fp8_base": True}, "roles.student.weights", "fp8"),
        ("musubi-tuner", {**LORA, "blocks_to_swap": 20}, "roles.student.placement", "stream"),
        ("musubi-tuner", {**LORA, "offload_inactive_dit": True}, "roles.student.placement", "cpu"),
        ("musubi-tuner", {**LORA, "compile": True}, "training.compile", True),
        ("musubi-tuner", {**LORA, "flash_attn": True}, "roles.student.attention", "flash"),
        ("musubi-tuner", {**MUSUBI, "gradient_checkpointing": True}, "training.enable_gradient_checkpointing_type", "full"),
        ("diffusion-pipe", {**PIPE, "model.transformer_dtype": "float8"}, "roles.student.weights", "fp8"),
        ("diffusion-pipe", {**PIPE, "blocks_to_swap": 20}, "roles.student.placement", "stream"),
        ("diffusion-pipe", {**PIPE, "compile": True}, "training.compile", True),
        ("diffusion-pipe", {**PIPE, "activation_checkpointing": "unsloth"}, "training.enable_gradient_checkpointing_type", "full"),
        ("fastvideo", {"pipeline.enable_torch_compile": True}, "training.compile", True),
    ],
)  # fmt: skip
def test_what_saves_memory_or_time_is_carried_over(
    trainer: str, config: dict[str, Any], place: str, value: Any
) -> None:
    run = translation_of(BY_NAME[trainer], config).run
    for part in place.split("."):
        run = run[part]
    assert run == value


@pytest.mark.parametrize(
    ("trainer", "config", "key", "message"),
    [
        ("musubi-tuner", {**MUSUBI, "fp8_base": True}, "fp8_base", "trained weights are in fp32 here"),
        ("musubi-tuner", {**MUSUBI, "blocks_to_swap": 20}, "blocks_to_swap", "weights that are trained stay on the GPU"),
        ("musubi-tuner", {**LORA, "fp8_base": True, "blocks_to_swap": 20}, "blocks_to_swap", "weights in fp8 stay on the GPU"),
        ("musubi-tuner", {**LORA, "compile": True, "blocks_to_swap": 20}, "blocks_to_swap", "compiled blocks stay on the GPU"),
        ("musubi-tuner", {**LORA, "fp8_t5": True}, "fp8_t5", "captions are encoded before any role is loaded"),
        ("fastvideo", {"pipeline.dit_layerwise_offload": True}, "pipeline.dit_layerwise_offload", "`placement: stream` or `cpu`"),
        ("fastvideo", {"training.distributed.hsdp_shard_dim": 8}, "training.distributed.hsdp_shard_dim", "`distributed.replicate`"),
        ("fastgen", {"trainer.fsdp_cpu_offload": True}, "trainer.fsdp_cpu_offload", "`placement: stream` or `cpu`"),
        ("self-forcing", {"text_encoder_cpu_offload": True}, "text_encoder_cpu_offload", "captions are encoded before"),
    ],
)  # fmt: skip
def test_what_cannot_be_had_here_is_told_by_name(trainer: str, config: dict[str, Any], key: str, message: str) -> None:
    remarks = translation_of(BY_NAME[trainer], config).remarks
    (said,) = [each for each in remarks if each.theirs.partition(":")[0] == key]
    assert said.ours is None
    assert message in said.message
