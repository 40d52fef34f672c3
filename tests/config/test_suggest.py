"""distill_core.config.suggest, as a run.yaml is answered by it: a key that its section does not have, and what was meant."""

from __future__ import annotations

import pytest
from pydantic import Field
from tests.config.conftest import RUN, Write, problems_of, the_problem, with_line

from distill_core.config.load import parse_run
from distill_core.config.schema import RunConfig
from distill_core.config.shape import outline_of
from distill_core.config.suggest import THEIRS, folded
from distill_core.plugins.specs import Options

OTHERS = "unknown key; what other tools call `{}` is `{}` here"


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("", "learning_rate: 1", "unknown key here; `learning_rate` belongs under `roles.<name>` or `training`"),
        ("data", "max_train_steps: 1", "unknown key here; `max_train_steps` belongs under `training`"),
        ("training", "fps: 1", "unknown key here; `fps` belongs under `validation`"),
        ("data", "family: x", "unknown key here; `family` belongs under `recipe` or `roles.<name>`"),
        ("training", "decay: 0.9", "unknown key here; `decay` belongs under `roles.<name>.ema`"),
        ("training", "vsa-sparsity: 0.9", "unknown key; did you mean `VSA_sparsity`?"),
        ("training", "MAX-GRAD-NORM: 1", "unknown key; did you mean `max_grad_norm`?"),
        (
            "training",
            "seeds: 0",
            "unknown key here; `seeds` belongs under `validation`; or did you mean `seed`?",
        ),
        ("", "max_train_step: 1", "unknown key; did you mean `max_train_steps` under `training`?"),
        ("training", "_target_: os.system", None),
        ("training", "checkpointing_steps: 5", OTHERS.format("checkpointing_steps", "checkpoint.interval")),
        ("data", "Checkpointing-Steps: 5", OTHERS.format("Checkpointing-Steps", "checkpoint.interval")),
        ("training", "mixed_precision: bf16", OTHERS.format("mixed_precision", "precision")),
        ("data", "mixed_precision: bf16", OTHERS.format("mixed_precision", "training.precision")),
        ("", "lr: 1", OTHERS.format("lr", "training.learning_rate")),
        ("training", "mode: lora", "unknown key here; `mode` belongs under `checkpoint`"),
        (
            "data",
            "num_train_epochs: 5",
            f"{OTHERS.format('num_train_epochs', 'training.max_train_steps')}, in steps: an epoch is the rows of the data ÷ "
            "train_batch_size ÷ gradient_accumulation_steps of them",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_what_was_meant(
    write: Write, section: str, line: str, message: str | None
) -> None:
    problem = the_problem(write(with_line(section, line)))
    key = line.partition(":")[0]
    assert problem.key == (f"{section}.{key}" if section else key)
    assert problem.message.startswith("unknown key") if message is None else problem.message == message


def test_what_other_tools_call_a_key_is_answered_by_one_that_is_there() -> None:
    for ours, theirs in THEIRS.items():
        section, _, key = ours.partition(", ")[0].rpartition(".")
        there = outline_of(RunConfig).at(tuple(section.split(".")) if section else ())
        assert there is not None
        assert key in there.properties, ours
        assert not set(theirs) & set(there.properties), ours
        assert list(theirs) == [folded(name) for name in theirs]


class Sampled(Options):
    """Options of a method."""

    kind: str = Field("ode", json_schema_extra={"known_as": ["solver"]})
    """Which sampler."""


def test_what_other_tools_call_an_option_is_answered_in_other_sections_too(write: Write) -> None:
    own = dict(outline_of(Sampled).sections("method_config"))
    (problem,) = parse_run(write(with_line("training", "solver: ode")), elsewhere=lambda _: own).problems
    assert problem.message == OTHERS.format("solver", "method_config.kind")


@pytest.mark.parametrize(
    ("override", "ours"),
    [
        ("training.lr=1", "learning_rate"),
        ("training.steps=1", "max_train_steps"),
        ("roles.student.lr=1", "learning_rate"),
    ],
)
def test_what_other_tools_call_a_key_is_known(write: Write, override: str, ours: str) -> None:
    problem = problems_of(write(RUN), override)[0]
    theirs = override.partition("=")[0].rpartition(".")[2]
    assert problem.message.endswith(f"unknown key; what other tools call `{theirs}` is `{ours}` here")
