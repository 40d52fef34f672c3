"""What to change so that a run fits a card, and how the command says it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tests.planning.test_plan_measured import BF16, FULL, LARGER, folders, index, run_yaml

from distill_core.cli import waiting
from distill_core.cli.app import main
from distill_core.errors import ConfigError, PlanError
from distill_core.planning.cards import CARDS, GIB, Card
from distill_core.planning.changes import Change, Kept, Planner, changes, fitting, on_more_gpus
from distill_core.planning.plan import Plan
from distill_core.planning.subject import subject_of
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.weightless import weightless
from distill_core.ranks.layout import Layout
from distill_core.testing.toy_spec import TOY, write_toy_model

__all__ = ["folders", "index"]

BATCH = ("training.train_batch_size=4", "method_config.caption_dropout=0", *LARGER)
SPLIT = ("training.train_batch_size=1", "training.gradient_accumulation_steps=4")


def card_of(usable: int) -> Card:
    """A card that tensors can have so much of."""
    card = Card("own", "none", int(0.6 * GIB + usable / 0.97) + 2, 1e12, 1e11, 1e10, "a wire")
    assert abs(card.usable - usable) <= 4
    return card


def kept_for(folders: Path, index: PluginIndex, share: float) -> tuple[Plan, list[Kept]]:
    """What makes a run of four samples fit a share of its peak."""
    with weightless():
        make = Planner(run_yaml(folders, "finetune", "t2v"), BATCH, index, print)
        plan = make([])
        return plan, fitting(plan, card_of(int(share * plan.peak)), make, print)


def test_nothing_is_changed_where_a_run_fits(folders: Path, index: PluginIndex) -> None:
    assert kept_for(folders, index, 1.01)[1] == []


def test_the_cheapest_changes_come_first_and_no_more_than_are_needed(folders: Path, index: PluginIndex) -> None:
    plan, kept = kept_for(folders, index, 0.75)
    assert [each.change.overrides for each in kept] == [SPLIT]
    assert kept[0].plan.peak < 0.75 * plan.peak
    assert kept[0].plan.trial.parameters == plan.trial.parameters


def test_what_a_later_change_alone_is_enough_for_is_left_out_again(folders: Path, index: PluginIndex) -> None:
    averaged = (FULL, "roles.student.ema.decay=0.9", "method_config.caption_dropout=0", *LARGER)
    tried: list[str] = []
    with weightless():
        make = Planner(run_yaml(folders, "finetune", "t2v"), averaged, index, print)
        plan, shorter = make([]), make(["data.num_frames=9"])
        kept = fitting(plan, card_of(shorter.peak), make, tried.append)
    assert "trying without roles.student.ema.placement=cpu" in tried
    assert [(each.change.overrides, each.plan.peak) for each in kept] == [(("data.num_frames=9",), shorter.peak)]


def test_roles_that_step_alone_are_tried_once_activations_are_recomputed_where_that_can_help(
    folders: Path, index: PluginIndex
) -> None:
    """Not for one trained role, nor under accumulation, which keeps all gradients to the last micro-step."""

    def first(method: str, *overrides: str) -> tuple[str, ...]:
        subject = subject_of(run_yaml(folders, method, "t2v"), overrides, index, on_card=True)
        return next(changes(subject)).overrides

    with weightless():
        assert first("dmd2", BF16, FULL) == ("training.step_roles=alone",)
        for method, more in (("finetune", ()), ("dmd2", ("training.gradient_accumulation_steps=2",))):
            assert first(method, BF16, FULL, *more) != ("training.step_roles=alone",)


@dataclass(frozen=True)
class Weighed:
    """Of a plan what is asked where changes are chosen."""

    peak: int
    limit: int
    subject: None = None

    def on(self, card: object) -> SimpleNamespace:
        """Whether the peak is within the limit."""
        return SimpleNamespace(fits=self.peak <= self.limit)


class Weighing:
    """Plans of changes by their letters: their peaks, the sets that cannot be played, and those that are no run at all."""

    def __init__(self, peaks: dict[str, int], unplayable: tuple[str, ...] = (), no_run: tuple[str, ...] = ()) -> None:
        self.peaks, self.unplayable, self.no_run = peaks, unplayable, no_run

    def __call__(self, more: Sequence[str], gpus: int | None = None) -> Weighed:
        """Raises PlanError for what cannot be played."""
        letters = "".join(more)
        if letters in self.unplayable:
            raise PlanError(f"{letters} cannot be played")
        return Weighed(self.peaks[letters], 50)

    def takes(self, more: Sequence[str], gpus: int | None = None) -> bool:
        """Whether that is a run."""
        return "".join(more) not in self.no_run


def chosen(monkeypatch: pytest.MonkeyPatch, make: Weighing) -> dict[str, int]:
    """The changes that are kept of those of single letters, and the peak with each and those before it; the run takes 100, 50 fit."""
    letters = sorted({letter for said in (*make.peaks, *make.unplayable) for letter in said})
    monkeypatch.setattr("distill_core.planning.changes.changes", lambda _: (Change((each,), "") for each in letters))
    kept = fitting(cast(Plan, Weighed(100, 50)), CARDS["24GB"], cast(Planner, make), print)
    return {each.change.overrides[0]: each.plan.peak for each in kept}


def test_a_change_that_cannot_be_played_beside_those_before_it_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, Weighing({"a": 80, "ac": 40, "c": 60}, unplayable=("ab",))) == {"a": 80, "c": 40}


def test_what_cannot_be_played_without_a_change_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where nobody knows what it takes, nor where it is no run at all, though it would fit."""
    assert chosen(monkeypatch, Weighing({"a": 80, "ab": 40}, unplayable=("b",))) == {"a": 80, "b": 40}
    assert chosen(monkeypatch, Weighing({"a": 80, "ab": 40, "b": 45}, no_run=("b",))) == {"a": 80, "b": 40}
    assert chosen(monkeypatch, Weighing({"a": 80, "ab": 40, "b": 45})) == {"b": 45}


def test_where_all_can_be_played_without_a_change_and_some_of_them_cannot_all_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peaks = {"a": 90, "ab": 70, "abc": 40, "bc": 45, "ac": 60}
    assert chosen(monkeypatch, Weighing(peaks, unplayable=("b",))) == {"a": 90, "b": 70, "c": 40}
    assert chosen(monkeypatch, Weighing({**peaks, "b": 75, "c": 80})) == {"b": 75, "c": 45}


def test_a_change_that_sets_a_section_anew_replaces_those_of_its_keys() -> None:
    none, moved, other = (
        Change((key,), "") for key in ("roles.a.ema=null", "roles.a.ema.placement=cpu", "roles.a.em=1")
    )
    assert none.replaces(moved)
    assert not moved.replaces(none)
    assert not other.replaces(moved)
    assert Change(("a.b=1", "a.c=2"), "").replaces(Change(("a.b=3",), ""))
    assert not Change(("a.b=1",), "").replaces(Change(("a.b=3", "a.c=2"), ""))


def test_weights_below_loras_may_leave_the_card_too(folders: Path, index: PluginIndex) -> None:
    with weightless():
        offered = [
            each.overrides for each in changes(subject_of(run_yaml(folders, "dmd2", "t2v"), (), index, on_card=True))
        ]
        make = Planner(run_yaml(folders, "finetune", "t2v"), (), index, print)
        here, away = (make(["roles.student.lora.rank=2", *more]) for more in ((), ("roles.student.placement=stream",)))
    loras = offered.index(("roles.student.lora.rank=64", "roles.critic.lora.rank=64"))
    assert offered[loras + 1] == tuple(f"roles.{name}.placement=stream" for name in ("student", "teacher", "critic"))
    owner = ("student", "weights")
    assert away.trial.at_rest[owner] < here.trial.at_rest[owner]


def test_the_fewest_gpus_on_which_a_run_fits_are_found_with_the_samples_of_a_step_as_they_are(
    folders: Path, index: PluginIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_core.planning.changes.MOST_GPUS", 2)
    with weightless():
        make = Planner(run_yaml(folders, "finetune", "t2v"), BATCH[:2], index, print)
        plan = make([])
        on_two = make(["training.train_batch_size=2", "training.gradient_accumulation_steps=2"], 2)
        assert on_two.subject.layout == Layout(1, 2)
        assert on_two.peak < plan.peak
        assert on_two.trial.checkpoint == plan.trial.checkpoint  # all of it, whoever writes it
        assert on_two.trial.parameters == plan.trial.parameters
        alone = Kept(Change(("roles.student.ema={decay: 0.9, placement: cpu}",), "not of weights in parts"), plan)
        split = Kept(Change(SPLIT, "whose keys the batch of several sets anew"), plan)
        more = on_more_gpus(plan, [alone, split], card_of(on_two.peak), make, print)
        assert isinstance(more, Kept)
        assert (more.change.gpus, more.change.price) == (2, "the same batch")
        assert more.change.overrides == ("training.train_batch_size=2", "training.gradient_accumulation_steps=2")
        assert more.plan.peak == on_two.peak
        none = on_more_gpus(plan, [], card_of(0), make, print)
        assert isinstance(none, str)
        assert none.startswith("2 GPUs are not enough: each would need ")


def test_what_several_gpus_cannot_share_is_refused_by_name(folders: Path, index: PluginIndex) -> None:
    with weightless():
        make = Planner(run_yaml(folders, "finetune", "t2v"), (), index, print)
        for gpus, more, said in (
            (2, ["training.train_batch_size=3"], "2 processes cannot share a batch of 3 equally"),
            (
                2,
                ["training.train_batch_size=2", "distributed.shard=4"],
                "distributed.shard 4 does not divide the number of processes, 2",
            ),
            (2, ["training.train_batch_size=2", "roles.student.ema={placement: cpu}"], "weights in parts stay"),
        ):
            with pytest.raises(ConfigError, match=said):
                make(more, gpus)
        plan = make(["training.train_batch_size=2"], 2)
        whole = make(["training.train_batch_size=2", "distributed.shard=1"], 2)
        assert whole.held[0].weights == make([]).held[0].weights > 1.9 * plan.held[0].weights
        assert not any(change.overrides[0] == SPLIT[0] for change in changes(plan.subject))
        (shared,) = [change for change in changes(plan.subject) if change.overrides[0] == "distributed.context=2"]
        one_clip = ("training.train_batch_size=1", "training.gradient_accumulation_steps=2")
        assert (shared.overrides[1:], shared.same) == (one_clip, True)


def test_weights_that_live_in_host_memory_take_none_of_the_device_between_two_steps(
    folders: Path, index: PluginIndex
) -> None:
    with weightless():
        make = Planner(run_yaml(folders, "dmd2", "t2v"), (), index, print)
        stay, stream, leave = (make([f"roles.teacher.placement={place}"]) for place in ("device", "stream", "cpu"))
    owner = ("teacher", "weights")
    here, streamed, away = (plan.trial.at_rest.get(owner, 0) for plan in (stay, stream, leave))
    assert away < streamed < here  # what is no block stays, of weights that come block by block
    assert {plan.held[1].weights for plan in (stay, leave)} == {
        here
    }  # while it predicts all are there, and of such small clips that is a peak
    assert stay.flops < leave.flops == stream.flops  # the negative prompt, beside a caption, is as long as that
    assert leave.flops < 1.03 * stay.flops


def test_a_run_that_fits_no_card_is_told_all_that_helps(folders: Path, index: PluginIndex) -> None:
    plan, kept = kept_for(folders, index, 0.0)
    peaks = [plan.peak, *(each.plan.peak for each in kept)]
    assert peaks == sorted(peaks, reverse=True)
    assert len({*peaks}) == len(peaks)
    assert [each.change.overrides for each in kept][:2] == [SPLIT, (FULL,)]
    assert not any(" " in override for each in changes(plan.subject) for override in each.overrides), (
        "a shell splits them"
    )


def test_a_family_that_cannot_do_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    write_toy_model(tmp_path / "model")
    path = tmp_path / "run.yaml"
    roles = (
        f"roles: {{student: {{path: {tmp_path}/model}}}}\ndata: {{path: {tmp_path}/none}}\noutput_dir: {tmp_path}/run\n"
    )
    path.write_text(
        f"recipe: {{family: toy, method: finetune}}\ntraining: {{max_train_steps: 3}}\n{roles}", encoding="utf-8"
    )
    from distill_core.plugins.registry import Registry
    from distill_core.plugins.specs import MethodSpec
    from distill_method_finetune.plugin import distill_register_methods

    registry: Registry[MethodSpec] = Registry(MethodSpec)
    distill_register_methods(registry)
    index = PluginIndex.of(models=[TOY], methods=list(registry.specs), metrics=[])
    with weightless(), pytest.raises(PlanError, match="model 'toy' cannot be made without weights"):
        subject_of(path, (), index, on_card=True)


def test_weights_and_moments_in_fewer_bits_are_planned_without_their_libraries(
    folders: Path, index: PluginIndex
) -> None:
    with weightless():
        make = Planner(run_yaml(folders, "dmd2", "t2v"), (BF16,), index, print)
        plain, small = make([]), make(["roles.teacher.weights=int8", "roles.student.optimizer=adamw8bit"])
    before, after = ({held.name: held for held in plan.held} for plan in (plain, small))
    assert after["teacher"].parameters == before["teacher"].parameters
    assert after["teacher"].weights < before["teacher"].weights
    assert after["student"].optimizer < before["student"].optimizer
    assert after["critic"] == before["critic"]


def test_what_is_made_while_a_family_is_first_imported_is_none_of_the_runs(
    folders: Path, index: PluginIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wan = index.models["wan"]
    module, _, name = wan.build.partition(":")
    text = f"import torch\nfrom {module} import {name} as Made\n\nTABLE = torch.ones(1 << 24)\n"
    (tmp_path / "first_imported.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    other = PluginIndex.of([replace(wan, build="first_imported:Made")], index.methods.values(), [])
    with weightless():
        plans = [Planner(run_yaml(folders, "finetune", "t2v"), LARGER, each, print)([]) for each in (index, other)]
    assert "first_imported" in sys.modules
    assert plans[0].peak == plans[1].peak


def test_the_command_prints_a_plan_as_plain_data(
    folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    silences, shown = list[bool](), waiting.waiting

    def heard(doing: str, *, silent: bool = False) -> AbstractContextManager[waiting.Say]:
        silences.append(silent)
        return shown(doing, silent=silent)

    monkeypatch.setattr(waiting, "waiting", heard)
    with pytest.raises(SystemExit) as left:
        main(
            [
                "plan",
                str(run_yaml(folders, "finetune", "t2v")),
                "--json",
                "--gpu",
                "24GB",
                "training.seed=1",
                "training.seed=2",
            ]
        )
    assert left.value.code == 0
    captured = capsys.readouterr()
    assert "note: override 'training.seed=1' is undone by override 'training.seed=2'" in captured.err
    assert silences == [True]
    said = json.loads(captured.out)
    assert said["peak"] == max(phase["peak"] for phase in said["phases"])
    assert [(card["gpu"], card["fits"]) for card in said["cards"]] == [("24GB", True)]
    assert said["cards"][0]["spare"] == CARDS["24GB"].usable - said["peak"]
    assert said["changes"] == []
    assert (said["gpus"], said["on_more_gpus"]) == (1, None)
    assert {"name", "parameters", "weights", "gradients", "optimizer", "average"} <= said["roles"][0].keys()


@pytest.mark.parametrize("other", [("--json",), ("--gpu", "48GB")])
def test_a_profile_goes_with_no_other_answer(
    folders: Path, other: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", str(run_yaml(folders, "finetune", "t2v")), "--profile", "24GB", *other])
    assert left.value.code == 2
    assert f"leave {' '.join(other)} out" in capsys.readouterr().err


def test_a_folder_of_json_files_is_enough_and_a_size_is_asked_for(
    folders: Path, index: PluginIndex, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    for file in (folders / "t2v").rglob("*.json"):
        if "tokenizer" not in str(file):
            copy = bare / file.relative_to(folders / "t2v")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    with weightless():
        path = run_yaml(folders, "finetune", "t2v")
        make = Planner(path, (f"roles.student.path={bare}",), index, print)
        assert make([]).held[0] == Planner(path, (), index, print)([]).held[0]
        with pytest.raises(
            Exception, match=r"data\.path: there is nothing at .*num_height is not given either; add e\.g\."
        ):
            make(["data.num_height=null"])
