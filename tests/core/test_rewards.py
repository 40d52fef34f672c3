"""Rewards of a run: their weighted sum, what of them is refused before training, and a run that raises one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.core.conftest import ToyWorld, methods
from torch import Tensor, nn

from distill_core.checkpoint import Checkpoint
from distill_core.config.document import write_yaml
from distill_core.config.resolve import ResolvedRun, open_run
from distill_core.errors import ConfigError, DataError, PluginError
from distill_core.plugins import Options, RewardOptions, RewardSpec
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.registry import Registry
from distill_core.running.measurable import refuse_unmeasurable
from distill_core.running.preparation import prepare, source_of_prompt
from distill_core.running.rewards import weighted_rewards
from distill_core.running.run_directory import RunDirectory
from distill_core.running.session import train
from distill_core.testing.toy_rewards import Brightness
from distill_core.testing.toy_spec import TOY
from distill_core.training.rewards import WeightedRewards
from distill_method_nft.plugin import nft, reward_gradient


class Learned(nn.Module):
    """A reward with a weight, of clips whose captions it knows."""

    def __init__(self, options: RewardOptions) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        strange = [prompt for prompt in prompts if "green" in prompt]
        if strange:
            raise DataError(f"{strange[0]!r} is nothing that it can see; leave such clips out of the data")

    def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
        return self.scale * pixels_BFCHW.flatten(1).amax(1)


class Bright(Brightness):
    """The toy's, as a plugin builds it."""

    def __init__(self, options: RewardOptions) -> None:
        self.options = options


GLOW = RewardSpec("glow", "how bright a clip is", RewardOptions, f"{__name__}:Bright", differentiable=True)
LEARNED = RewardSpec("learned", "a learnt one", RewardOptions, f"{__name__}:Learned")
INDEX = PluginIndex.of(models=[TOY], methods=[*methods(), nft(), reward_gradient()], rewards=[GLOW, LEARNED])


def resolved(world: ToyWorld, method: str, rewards: dict[str, Any] | None, **options: Any) -> ResolvedRun:
    mapping = world.mapping(method, method_config={"sampling_steps": 2, **options} if method != "finetune" else {})
    if method != "finetune":
        mapping["roles"]["reference"] = {"path": str(world.root / "teacher"), "trainable": False}
    mapping["training"] |= {"max_train_steps": 2}
    mapping["checkpoint"], mapping["tracking"] = {"interval": 2}, {"log_interval": 1}
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping if rewards is None else {**mapping, "rewards": rewards}), encoding="utf-8")
    return open_run(path, (), INDEX)


def refused(world: ToyWorld, method: str, rewards: dict[str, Any] | None) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        resolved(world, method, rewards)
    (problem,) = caught.value.problems
    return problem.key, problem.message


def test_a_run_raises_a_reward_and_says_what_each_gave(world: ToyWorld) -> None:
    run = resolved(world, "nft", {"glow": {"weight": 2.0}}, group_size=2, timesteps_per_clip=1)
    directory = RunDirectory(Path(run.config.output_dir))
    train(prepare(run), directory, [], Console(quiet=True))
    logged = [json.loads(line) for line in directory.metrics.read_text(encoding="utf-8").splitlines()]
    assert all({"reward/glow", "reward_spread", "flat_groups", "reference_distance"} <= set(line) for line in logged)
    held = Checkpoint(directory.checkpoints / "step-00000002", 2).state()["tensors"]
    assert any("old" in name for name in held)
    assert not any("rewards" in name for name in held)


def test_a_method_without_its_rewards_says_which_there_are(world: ToyWorld) -> None:
    key, message = refused(world, "nft", None)
    assert key == "rewards"
    assert message.endswith("add e.g. `rewards: {glow: {}}` (those installed that it can: glow, learned)")
    assert "(those installed that it can: glow)" in refused(world, "reward-gradient", None)[1]


def test_a_reward_without_a_gradient_is_refused_where_one_is_needed(world: ToyWorld) -> None:
    key, message = refused(world, "reward-gradient", {"learned": {}})
    assert key == "rewards.learned"
    assert "needs a gradient to the pixels, which this reward does not give" in message


def test_rewards_that_weigh_nothing_together_are_refused(world: ToyWorld) -> None:
    key, message = refused(world, "nft", {"glow": {"weight": 0}})
    assert (key, message.partition(";")[0]) == ("rewards", "every reward weighs 0, which leaves nothing to raise")
    assert resolved(world, "nft", {"glow": {}, "learned": {"weight": 0}}).rewards  # one to look at beside one to raise


def test_rewards_that_a_method_does_not_raise_are_refused(world: ToyWorld) -> None:
    assert refused(world, "finetune", {"glow": {}}) == ("rewards", "method 'finetune' raises no rewards; remove it")


def test_rewards_that_a_method_raises_under_other_options_are_refused_with_where_these_stand(world: ToyWorld) -> None:
    mapping = world.mapping("dmd2", method_config={"dmd_denoising_steps": [1000, 500]})
    path = world.root / "run.yaml"
    path.write_text(write_yaml({**mapping, "rewards": {"glow": {}}}), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_run(path, (), INDEX)
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == (
        "rewards",
        "method 'dmd2' raises no rewards under these options; `distill plugins show dmd2` says which do, or remove it",
    )


def test_an_unknown_reward_and_a_misspelt_option_are_refused(world: ToyWorld) -> None:
    assert "Did you mean 'glow'?" in refused(world, "nft", {"glwo": {}})[1]
    assert refused(world, "nft", {"glow": {"wieght": 2}})[0] == "rewards.glow.wieght"


def test_a_reward_that_cannot_measure_a_caption_of_the_data_is_refused_before_training(world: ToyWorld) -> None:
    row = r"rewards\.learned: .*\.parquet:\d+: 'two green things' is nothing that it can see"
    with pytest.raises(DataError, match=row):
        prepare(resolved(world, "nft", {"learned": {}}))


class Small(Learned):
    """It knows clips of one size alone."""

    def check(self, prompts: Sequence[str], shape_FHW: tuple[int, int, int]) -> None:
        super().check(prompts, shape_FHW)
        if shape_FHW != (1, 2, 2):
            raise DataError("a size that it does not know")


@pytest.mark.parametrize(
    ("captions", "size", "said"),
    [
        (("red", "green"), (1, 2, 2), "row of green: 'green' is nothing that it can see"),
        (("red", "unknown green"), (1, 2, 2), "^'unknown green' is nothing"),
        (("red", "blue"), (1, 4, 4), "^a size that it does not know"),
        (("red", "green"), (1, 4, 4), "^a size that it does not know"),
    ],
)
def test_what_cannot_be_measured_is_told_with_its_source_if_it_is_a_caption(
    captions: Sequence[str], size: tuple[int, int, int], said: str
) -> None:
    def source_of(caption: str) -> str | None:
        return None if "unknown" in caption else f"row of {caption}"

    refuse_unmeasurable(Small(RewardOptions()), ("red", "blue"), (1, 2, 2), source_of)
    with pytest.raises(DataError, match=said):
        refuse_unmeasurable(Small(RewardOptions()), captions, size, source_of)


@pytest.mark.parametrize(("section", "prompts"), [("validation", ["green"]), ("comparison", ["red", "green"])])
def test_a_prompt_that_is_written_is_told_by_its_key(world: ToyWorld, section: str, prompts: list[str]) -> None:
    mapping = world.mapping("finetune")
    rows = {"rows": {"student": {"role": "student"}}} if section == "comparison" else {}
    mapping[section] = {**mapping.get(section, {}), "prompts": prompts, **rows}
    path = world.root / "run.yaml"
    path.write_text(write_yaml(mapping), encoding="utf-8")
    run = open_run(path, (), INDEX)
    dataset = prepare(run).dataset
    assert source_of_prompt("green", run.config, dataset) == f"{section}.prompts"
    there = source_of_prompt("two green things", run.config, dataset)
    assert there is not None
    assert there.partition(".parquet:")[2].isdecimal()


def test_the_sum_is_weighted_and_parts_with_weights_are_frozen() -> None:
    learned = Learned(RewardOptions())
    both = WeightedRewards({"glow": Bright(RewardOptions()), "learned": learned}, {"glow": 0.5, "learned": 3.0})
    pixels = torch.zeros(2, 1, 3, 2, 2)
    pixels[1] = 1.0
    assert both(pixels, ["a", "b"]).tolist() == [0.0, 0.5 * 1.0 + 3.0 * 2.0]
    assert not learned.scale.requires_grad


def test_a_reward_at_fault_is_named() -> None:
    class Broken(Brightness):
        def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
            raise KeyError("words")

    class Whole(Brightness):
        def score(self, pixels_BFCHW: Tensor, captions: Sequence[str]) -> Tensor:
            return pixels_BFCHW.mean()

    pixels = torch.zeros(2, 1, 3, 2, 2)
    with pytest.raises(PluginError, match="reward 'bad'"):
        WeightedRewards({"bad": Broken()}, {"bad": 1.0})(pixels, ["a", "b"])
    with pytest.raises(PluginError, match=r"answers 2 clips with a tensor of \[\]; it has to be \[B\]"):
        WeightedRewards({"bad": Whole()}, {"bad": 1.0})(pixels, ["a", "b"])


def test_options_without_a_weight_are_refused_at_the_plugin() -> None:
    registry: Registry[RewardSpec] = Registry(RewardSpec)
    with pytest.raises(ValueError, match=r"subclass of plugins\.RewardOptions"):
        registry.add(RewardSpec("glow", "bright", Options, f"{__name__}:Bright"))


def test_above_what_is_enough_a_reward_rises_no_more_and_has_no_gradient() -> None:
    bounded = WeightedRewards({"glow": Bright(RewardOptions())}, {"glow": 2.0}, {"glow": 0.5})
    pixels = torch.stack([torch.full((1, 3, 2, 2), value) for value in (0.25, 0.75)]).requires_grad_()
    each = bounded.each(pixels, ["a", "b"])
    total = bounded.total(each)
    assert (each["glow"].tolist(), total.tolist()) == ([0.25, 0.75], [0.5, 1.0])
    (gradient,) = torch.autograd.grad(total.sum(), pixels)
    assert [bool(clip.any()) for clip in gradient] == [True, False]


def test_what_is_enough_of_a_reward_stands_in_the_run(world: ToyWorld) -> None:
    run = resolved(world, "reward-gradient", {"glow": {"enough": 0.5}}, reference_weight=0.5)
    assert weighted_rewards(run).enough == {"glow": 0.5}
