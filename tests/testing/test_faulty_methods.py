"""Each planted fault is found, by the rule that it breaks, with a message that says what to do; its twin without the fault passes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.testing import faulty_memory
from tests.testing import faulty_methods as faulty
from tests.testing.good_methods import (
    ROLES,
    STUDENT,
    TEACHER,
    Adversarial,
    Causal,
    KitOptions,
    Regression,
    Target,
    TwoRoles,
    spec_of,
)

from distill_core.plugins.specs import Demands, RoleNeed
from distill_core.protocols import ValidationRequest
from distill_core.testing.contracts import ContractError, check_method

FAULTS: list[tuple[type, type, str, str]] = [
    (faulty_memory.HiddenTarget, Regression, "resume", "role with RoleNeed(follows=...)"),
    (faulty_memory.OldPolicy, Regression, "resume", "gone on from its checkpoint"),
    (faulty_memory.RunningMean, Regression, "memory", "a buffer of a role with RoleNeed(module=...)"),
    (faulty_memory.Counter, Regression, "memory", "a counter follows from draw.step"),
    (faulty_memory.MovesTheTeacher, Regression, "unsaved weights", "changed teacher: denoiser.layers.0.weight"),
    (faulty.Misspelt, Regression, "refused", "trains 'studnet', which is no role; the trained roles are student"),
    (faulty.TrainsTheFrozen, Regression, "refused", "trains 'teacher', which is frozen"),
    (faulty.WrongRole, TwoRoles, "gradients", "no weight of 'critic' is in its graph"),
    (faulty.ZeroGradient, Regression, "gradients", "all gradients to 'student' are zero"),
    (faulty.NoLoss, Regression, "refused", "it yields no loss, so nothing would be trained"),
    (faulty.BareTensor, Regression, "refused", "losses gives a Tensor; yield StagedLoss(role, name, value)"),
    (faulty.DueWithoutLoss, TwoRoles, "refused", "it steps student, and no loss of this step trains it"),
    (faulty.DoneAndAsked, TwoRoles, "done", "are others than without: a role that a loss names as `done` is used"),
    (faulty.DoneInTheGraph, TwoRoles, "gradients", "its backward pass goes through 'student'"),
    (faulty.NotDue, TwoRoles, "refused", "does not step at this step; ask roles_to_step(draw.step)"),
    (faulty.PerRow, Regression, "refused", "is no scalar: its shape is [3]"),
    (faulty.NoGraph, Regression, "refused", "has no graph, so it trains nothing"),
    (faulty.NotFinite, Regression, "finite losses", "look for a division or a logarithm of 0"),
    (faulty.RootAtZero, Regression, "gradients", "a square root or a norm at 0 has none"),
    (faulty.MetricWithGraph, Regression, "metrics", "give value.detach()"),
    (faulty.MetricOfTheHost, Regression, "metrics", "is a float; give a tensor on the device"),
    (faulty.BothGraphs, TwoRoles, "one graph", "yield each loss before the next one's predictions"),
    (faulty.KeepsItsGraph, Regression, "one graph", "keep .detach()ed numbers"),
    (faulty.WritesIntoTheData, Regression, "data", "write into batch.latents; clone them"),
    (faulty.AString, Regression, "refused", "not a tuple of names; a single one is ('student',)"),
    (faulty.StepsTwice, Regression, "refused", "name each once"),
    (faulty.CountsCalls, TwoRoles, "cadence", "make it a function of `step` and the options alone"),
    (faulty.KeepsTooMuch, Target, "refused", "a share of 1.5, which is not in [0, 1]"),
    (faulty.KeepsByCalls, Target, "keeps", "make it a function of `step` and the options alone"),
    (faulty.SaysNotWhatItKeeps, Target, "refused", "it has no keeps(step) that says how"),
    (faulty.ValidatesNobody, Regression, "validation", "validates 'generator', which is no role"),
    (faulty.ValidatesAHead, Adversarial, "validation", "name a role that is a model"),
    (faulty.ValidatesUphill, Regression, "validation", "must fall strictly within (0, 1000]"),
    (faulty.ValidatesBlocks, Regression, "validation", "blocks, frame_timesteps, stream, which its need does not"),
    (faulty.ValidatesSparsely, Regression, "validation", "with 'vsa' attention, its demands say dense"),
    (faulty.ValidatesADict, Regression, "validation", "validation gives a dict; return a ValidationRequest"),
    (faulty.Undeclared, Regression, "refused", "asks features of role 'student', which its spec does not declare"),
    (faulty.Sparse, Regression, "refused", "Demands(attention={'student': ('vsa',)})"),
    (faulty.Averaged, Regression, "refused", "wants the averaged weights of role 'student', which keeps no average"),
    (faulty.AnotherFamilysCondition, Regression, "refused", "pass batch.condition_of(role) of the same role"),
    (faulty.Float32Timesteps, Regression, "refused", "timesteps are float64"),
    (faulty.SigmasForTimesteps, Regression, "refused", "outside [0, 1000]; timesteps are 1000 σ"),
    (faulty.GlobalNoise, Regression, "global randomness", "draws from torch's global stream; ask `draw`"),
    (faulty.PythonsRandom, Regression, "global randomness", "draws from Python's random; ask `draw`"),
    (faulty.OwnGenerator, Regression, "unkeyed randomness", "ask `draw` for it by name"),
    (faulty.OneNoiseForAll, Regression, "order of rows", "draw it by the row, or by draw.shared_index"),
    (faulty.DeviationOverTheBatch, Regression, "batch of one", "take it over a sample"),
    (faulty.SumsOverTheBatch, Regression, "mean over the batch", "a loss is a mean over the batch"),
    (faulty.NormalisesOverTheBatch, Regression, "micro-batches", "check_method(..., couples_rows=True)"),
    (
        faulty.LogsARootOverTheBatch,
        Regression,
        "logged figures",
        "the figure of each sample, and the mean over the batch last",
    ),
]


def found(*arguments: Any, **more: Any) -> dict[str, str]:
    """The faults of a method that has some, by rule."""
    with pytest.raises(ContractError) as caught:
        check_method(*arguments, **{"steps": 6, **more})
    assert str(caught.value).startswith(f"method '{arguments[0].name}' breaks its contract:\n")
    return {fault.rule: fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(("method", "twin", "rule", "message"), FAULTS, ids=[method.__name__ for method, *_ in FAULTS])
def test_a_planted_fault_is_found_by_its_rule(method: type, twin: type, rule: str, message: str) -> None:
    faults = found(spec_of(method, twin), KitOptions())
    assert message in faults[rule], faults


def test_a_statistic_of_a_module_that_is_no_buffer_is_lost_by_a_resume() -> None:
    roles = {
        "student": STUDENT,
        "teacher": TEACHER,
        "statistic": RoleNeed(False, module="tests.testing.faulty_memory:plain_attribute"),
    }
    assert (
        "persistent buffer of one with RoleNeed(module=...)"
        in found(spec_of(faulty_memory.MeanInAModule, Regression, roles=roles), KitOptions())["resume"]
    )


def test_a_method_that_needs_longer_clips_than_the_kits_is_told_so() -> None:
    faults = found(spec_of(Regression, demands=lambda _: Demands(least_frames=5)), KitOptions())
    assert "the kit's clips have 4 latent frames" in faults["demands"]


def test_latents_that_the_demands_leave_out_are_missed() -> None:
    faults = found(spec_of(Regression, demands=lambda _: Demands(latents=False)), KitOptions())
    assert "say Demands(latents=True)" in faults["demands"]


def test_a_cadence_other_than_the_specs_is_seen() -> None:
    faults = found(spec_of(TwoRoles, roles_to_step=lambda _, step: ("critic",)), KitOptions())
    assert "step 2: the spec's roles_to_step says ('critic',)" in faults["cadence"]


def test_a_second_time_after_the_first_is_no_mean_velocity() -> None:
    needs = {name: RoleNeed(need.trainable, need.operations | {"until"}) for name, need in ROLES["Causal"].items()}
    faults = found(spec_of(faulty.LaterSecondTime, Causal, roles=needs), KitOptions())
    assert "nowhere above it" in faults["refused"]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("unkeyed_head", "makes other weights for the same seed"),
        ("self_seeded_head", "leave torch.manual_seed out"),
        ("head_of_pythons_random", "draws from Python's random"),
        ("empty_head", "has no parameters and its role is trainable"),
        ("no_head", "makes a dict; return a torch.nn.Module"),
        ("raising_head", "it raised KeyError: 'critic'"),
    ],
)
def test_a_module_of_the_methods_own_follows_from_the_runs_seed(factory: str, message: str) -> None:
    head = RoleNeed(True, module=f"tests.testing.faulty_memory:{factory}")
    faults = found(spec_of(Adversarial, roles={**ROLES["Adversarial"], "head": head}), KitOptions())
    assert message in faults["own module"]


def test_no_validation_of_a_trained_student_is_worth_a_note() -> None:
    (note,) = check_method(spec_of(faulty.ValidatesNothing, Regression), KitOptions(), steps=3).notes
    assert note.startswith("validation gives None, though student is trained")


def test_several_faults_are_told_at_once() -> None:
    faults = found(
        spec_of(faulty.MetricWithGraph, Regression, roles_to_step=lambda _, step: ("teacher",)), KitOptions()
    )
    assert {"metrics", "cadence"} <= set(faults)


def test_what_the_spec_says_of_sampling_is_what_the_method_validates() -> None:
    wrong = ValidationRequest("student", steps=50)
    faults = found(spec_of(Regression, sampling=lambda options, shift: wrong), KitOptions())
    assert "let both call one function of the options" in faults["validation"]


def test_a_role_that_the_spec_calls_optional_is_one_that_the_method_can_do_without() -> None:
    optional = {**ROLES["TwoRoles"], "critic": RoleNeed(True, STUDENT.operations, optional=True)}
    faults = found(spec_of(TwoRoles, roles=optional), KitOptions())
    assert faults["optional roles"].startswith(
        "in a run without critic, which the spec says is optional, it raised Key"
    )


def test_an_operation_of_a_familys_own_needs_a_stand_in() -> None:
    needs = {"student": STUDENT, "teacher": RoleNeed(False, TEACHER.operations | {"acme.depth"})}
    spec = spec_of(faulty.Depth, Regression, roles=needs)
    assert "extensions={'acme.depth': ...}" in found(spec, KitOptions())["refused"]
    check_method(spec, KitOptions(), steps=2, extensions={"acme.depth": lambda modules, latents: latents.mean() * 0.0})
