"""`distill data trajectories`: columns that a method makes by its own roles, into data that record how. The command, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.core.conftest import ToyWorld
from tests.data.data_command import run as command
from torch import Tensor

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.columns import T2V_SCHEMA, TEXT_ONLY_SCHEMA, CaptionRecord, ClipRecord, with_columns
from distill_core.data.reading.dataset import open_dataset
from distill_core.data.reading.origin import Origin
from distill_core.data.reading.tensors import tensor_columns
from distill_core.errors import ConfigError, DataError, MethodError, RunDirectoryError
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.registry import Registry
from distill_core.plugins.specs import Demands, MethodSpec
from distill_core.protocols import Batch, Draw
from distill_core.running.preparation import prepare
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing import toy_spec
from distill_core.testing.toy import ToyModel, encode_caption
from distill_core.testing.toy_spec import TOY
from distill_method_kd import plugin as kd
from distill_method_kd.config import KdOptions
from distill_method_kd.paths import PathMaker

CONFIG = {"trajectories": "stored", "teacher_steps": 2, "guidance_scale": 2.0, "denoising_steps": [1000, 500]}
COLUMN = kd.demands(KdOptions.model_validate(CONFIG)).columns


def index() -> PluginIndex:
    registry: Registry[MethodSpec] = Registry(MethodSpec)
    kd.distill_register_methods(registry)
    return PluginIndex.of(models=[TOY], methods=list(registry.specs))


class Paths:
    """A run of knowledge distillation whose data are still to be made, out of five captions."""

    def __init__(self, world: ToyWorld) -> None:
        self.world = world
        self.source = world.root / "captions"
        self.made = world.root / "paths"
        with ParquetWriter(self.source, TEXT_ONLY_SCHEMA) as writer:
            for number in range(5):
                caption = "ab"[number % 2] * (number + 1)
                writer.add(CaptionRecord(f"caption-{number}", caption, encode_caption(caption)))
        self.yaml = world.root / "kd.yaml"
        self.write()

    def write(self, roles: tuple[str, ...] = ("student", "teacher")) -> None:
        """The run.yaml, with these roles."""
        size = {"num_latent_t": 3, "num_height": 16, "num_width": 16}
        data = {"path": str(self.made), **size}
        mapping = self.world.mapping("finetune", data=data, validation={"interval": None})
        named = {name: {"path": str(self.world.root / name), "trainable": name == "student"} for name in roles}
        mapping |= {"recipe": {"family": "toy", "method": "kd"}, "roles": named, "method_config": CONFIG}
        self.yaml.write_text(write_yaml(mapping), encoding="utf-8")

    def make(self, *arguments: object) -> str:
        return command("trajectories", self.yaml, "--source", self.source, *arguments).stderr

    def train(self, *overrides: str) -> RunDirectory:
        resolved = open_run(self.yaml, overrides, index())
        directory = RunDirectory(Path(resolved.config.output_dir))
        train(prepare(resolved), directory, [], Console(quiet=True))
        return directory

    def rows(self) -> dict[str, Tensor]:
        """What was made, by id, whatever it was made with."""
        (column,) = COLUMN
        dataset = open_dataset(self.made, latents=False, declared=[replace(column, made_with=None)])
        return {row.id: row.tensors["trajectory"] for row in (dataset[place] for place in range(len(dataset)))}


def let_be_installed(monkeypatch: pytest.MonkeyPatch, found: Callable[[], PluginIndex]) -> None:
    """Let the command find these plugins alone."""
    for module in ("cli.making", "plugins.discovery"):
        monkeypatch.setattr(f"distill_core.{module}.discover", found)


@pytest.fixture
def paths(world: ToyWorld, monkeypatch: pytest.MonkeyPatch) -> Paths:
    let_be_installed(monkeypatch, index)
    return Paths(world)


def stopped_at(monkeypatch: pytest.MonkeyPatch, batch: int) -> Callable[[], int]:
    """Ctrl-C while the maker makes that batch; how many were made is told by the call."""
    made, original = [], PathMaker.make

    def make(maker: PathMaker, rows: Batch, draw: Draw) -> dict[str, Tensor]:
        made.append(rows.size)
        if len(made) == batch:
            raise KeyboardInterrupt
        return original(maker, rows, draw)

    monkeypatch.setattr(PathMaker, "make", make)
    return lambda: len(made)


def test_every_row_gets_its_column_and_the_run_trains_on_them(paths: Paths) -> None:
    said = paths.make("training.seed=4", "training.seed=3")
    assert f"made 5 of 5 rows into {paths.made}" in said
    assert "note: override 'training.seed=4' is undone by override 'training.seed=3', which comes after it" in said
    rows = paths.rows()
    assert set(rows) == {f"caption-{number}" for number in range(5)}
    assert {tuple(tensor.shape) for tensor in rows.values()} == {(3, 3, 2, 4, 4)}
    assert len({tensor[0].sum().item() for tensor in rows.values()}) == 5, "each row has a noise of its own"
    assert paths.train().checkpoints.is_dir()


def test_a_run_on_stored_columns_needs_no_maker(paths: Paths) -> None:
    paths.make()
    paths.write(roles=("student",))
    assert paths.train().checkpoints.is_dir()
    with pytest.raises(
        ConfigError, match=r"roles\.teacher: this role makes the columns trajectory; name it here, or on the"
    ):
        paths.make()


def test_a_stopped_making_goes_on_and_makes_bitwise_what_an_unbroken_one_does(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        made = stopped_at(patch, batch=3)
        stopped = command("trajectories", paths.yaml, "--source", paths.source)
        assert (stopped.exit_code, made()) == (130, 3)
        assert "what is made is kept" in stopped.stderr
    assert not paths.made.exists()
    assert "made 5 of 5 rows (4 of them before)" in paths.make()
    broken = paths.rows()
    assert "made 5 of 5 rows into" in paths.make("--overwrite")
    assert all(tensor.equal(broken[name]) for name, tensor in paths.rows().items())


def test_what_is_made_of_captions_alone_rests_on_no_autoencoder(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    real = toy_spec.inspect
    monkeypatch.setattr(
        toy_spec, "inspect", lambda path: replace(real(path), encoders=("text", "vae"), autoencoder="vae")
    )
    paths.make()
    (file,) = open_dataset(paths.made, latents=False).files
    origin = Origin.of(file.metadata)
    assert origin is not None
    assert set(origin.parts) == {"text"}


def test_shards_make_what_one_process_makes(paths: Paths) -> None:
    assert "appears when the other shards are done" in paths.make("--shard", "2/2")
    assert not paths.made.exists()
    paths.make("--shard", "1/2")
    shared = paths.rows()
    paths.make("--overwrite")
    for name, tensor in paths.rows().items():
        torch.testing.assert_close(tensor, shared[name])


def test_several_of_each_row_have_noises_of_their_own_whatever_the_batch(paths: Paths) -> None:
    paths.make("--per-row", 2)
    rows = paths.rows()
    assert sorted(rows) == sorted(f"caption-{number}{suffix}" for number in range(5) for suffix in ("", "#2"))
    assert len({tensor[0].sum().item() for tensor in rows.values()}) == 10
    paths.make("--per-row", 2, "--overwrite", "training.train_batch_size=5")
    for name, tensor in paths.rows().items():
        assert tensor[0].equal(rows[name][0])


def test_nothing_new_loads_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.make()
    monkeypatch.setattr(ToyModel, "load_modules", lambda *_: pytest.fail("weights were loaded"))
    assert "made 5 of 5 rows (5 of them before)" in paths.make()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method_config.teacher_steps=3"], "trajectory.teacher_steps: 2 there, 3 here"),
        (["method_config.guidance_scale=3"], "trajectory.guidance_scale: 2.0 there, 3.0 here"),
        (["method_config.denoising_steps=[1000,400]"], "trajectory.stored_steps"),
        (["--dtype", "float16"], "dtype: float32 there, float16 here"),
        (["training.seed=4"], "seed: 3 there, 4 here"),
    ],
)
def test_another_grid_is_refused_before_any_weight_is_loaded(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    paths.make()
    monkeypatch.setattr(ToyModel, "load_modules", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(RunDirectoryError, match=rf"holds data of other settings \({words}.*data.path"):
        paths.make(*arguments)


def test_what_was_left_half_made_with_other_settings_is_refused_too(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopped_at(patch, batch=2)
        command("trajectories", paths.yaml, "--source", paths.source)
    with pytest.raises(RunDirectoryError, match=r"an earlier command left .*guidance_scale: 2.0 there, 3.0 here"):
        paths.make("method_config.guidance_scale=3")
    assert "made 5 of 5 rows into" in paths.make("method_config.guidance_scale=3", "--overwrite")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method_config.teacher_steps=3", r"was made otherwise than this run asks \(teacher_steps 2, not 3\)"),
        (
            "data.num_latent_t=2",
            r"was made for latents \[T, C, H, W\] = \[3, 2, 4, 4\], and the run trains at \[2, 2, 4, 4\]",
        ),
    ],
)
def test_a_run_that_asks_for_another_grid_or_size_is_refused(paths: Paths, override: str, words: str) -> None:
    paths.make()
    with pytest.raises(DataError, match=words):
        prepare(open_run(paths.yaml, [override], index()))


def test_fewer_of_the_stored_steps_may_be_trained(paths: Paths) -> None:
    stored = "method_config.stored_steps=[1000,500]"
    paths.make(stored)
    paths.train(stored, "method_config.denoising_steps=[1000]")


def test_data_that_are_not_there_are_made_by_the_command_of_their_column(paths: Paths) -> None:
    empty = paths.yaml.parent / "empty"
    empty.mkdir()
    for place in (paths.made, empty):
        with pytest.raises(DataError, match=r"`distill data trajectories RUN.yaml --source DATA` makes"):
            prepare(open_run(paths.yaml, [f"data.path={place}"], index()))


def test_data_that_lack_the_column_name_its_command_and_those_that_record_nothing_are_refused(paths: Paths) -> None:
    with pytest.raises(
        DataError, match=r"lacks what this run needs .*`distill data trajectories RUN.yaml --source DATA`"
    ):
        prepare(open_run(paths.yaml, [f"data.path={paths.source}"], index()))
    with ParquetWriter(paths.made, with_columns(TEXT_ONLY_SCHEMA, COLUMN)) as writer:
        caption = CaptionRecord("one", "a", encode_caption("a")).columns()
        writer.add({**caption, **tensor_columns("trajectory", torch.zeros(3, 3, 2, 4, 4))})
    with pytest.raises(DataError, match="does not record what its column trajectory was made with"):
        prepare(open_run(paths.yaml, [], index()))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method_config.trajectories=made", "trains on no columns of its own making under this method_config"),
        ("data.path=owner/name", "owner/name is no folder here"),
        ("data.mix=[{path: other}]", "columns are made for one data set at a time"),
    ],
)
def test_a_run_that_makes_nothing_or_nowhere_is_refused(paths: Paths, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        paths.make(override)


def test_a_maker_that_gives_something_else_than_its_columns_is_named(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PathMaker, "make", lambda *_: {"trajectory": torch.zeros(2, 3, 3, 2, 4, 5)})
    with pytest.raises(MethodError, match=r"method 'kd', making columns, made trajectory .* with W = 4"):
        paths.make()


def test_a_method_that_reads_latents_gets_its_clips_back_with_what_was_made_of_them(
    world: ToyWorld, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips of two lengths: each shape is made by itself, and cut nowhere."""

    def with_latents(options: KdOptions) -> Demands:
        return replace(kd.demands(options), latents=True)

    def changed() -> PluginIndex:
        (spec,) = index().methods.values()
        return PluginIndex.of(models=[TOY], methods=[replace(spec, demands=with_latents)])

    let_be_installed(monkeypatch, changed)
    source = world.root / "clips"
    with ParquetWriter(source, T2V_SCHEMA) as writer:
        for number, frames in enumerate((3, 3, 2)):
            clip, text = torch.full((2, frames, 4, 4), float(number)), encode_caption("ab")
            writer.add(ClipRecord(f"clip{number}", "ab", text, clip, f"{number}.mp4", 16, 16, 4 * frames - 3, 16.0))
    paths.source = source
    assert "made 3 of 3 rows" in paths.make("data.num_latent_t=null")
    dataset = open_dataset(paths.made, latents=True, declared=[replace(COLUMN[0], made_with=None)])
    found = {row.id: row for row in (dataset[place] for place in range(3))}
    for number, frames in enumerate((3, 3, 2)):
        row = found[f"clip{number}"]
        assert row.latent_CTHW is not None
        assert row.latent_CTHW.equal(torch.full((2, frames, 4, 4), float(number)))
        assert (row.fps, tuple(row.tensors["trajectory"].shape)) == (16.0, (3, frames, 2, 4, 4))
    prepare(open_run(paths.yaml, ["data.num_latent_t=null"], changed()))
    with pytest.raises(DataError, match=r"made otherwise than this run asks \(guidance_scale 2.0, not 4.0\)"):
        prepare(open_run(paths.yaml, ["data.num_latent_t=null", "method_config.guidance_scale=4"], changed()))
