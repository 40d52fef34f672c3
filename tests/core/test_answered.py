"""distill_core.training.answered: a family whose answer is none, or lacks what was asked for, is refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.testing.good_methods import Regression, spec_of

from distill_core.errors import DataError, PluginError
from distill_core.protocols import Ask, ModelRequest, Prediction, Tangents, ValidationRequest
from distill_core.testing.contracts import toy_batch, toy_roles
from distill_core.testing.toy import ToyAdapter, ToyModel
from distill_core.testing.toy_spec import TOY, inspect, write_toy_model
from distill_core.training.answered import loaded_modules, sampled

Change = Callable[[Prediction], Any]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change, Ask], Prediction]:
    """``asked(change, ask)``: a prediction of a family that changes what it gives."""
    role, batch = toy_roles(spec_of(Regression))["student"], toy_batch()
    plain = ToyAdapter.predict
    t_B = torch.full((batch.size,), 500.0, dtype=torch.float64)

    def ask_it(change: Change, ask: Ask = Ask()) -> Prediction:
        monkeypatch.setattr(ToyAdapter, "predict", lambda *given: change(plain(*given)))
        return role.predict(batch.latents, t_B, batch.condition_of(role), ask)

    return ask_it


def raises(*_: object) -> Any:
    raise KeyError("blocks.0")


@pytest.mark.parametrize(
    ("change", "ask", "words"),
    [
        (lambda made: made.velocity, Ask(), "gave a Tensor; an adapter's predict returns a Prediction"),
        (
            lambda made: replace(made, velocity=made.velocity[:, :1]),
            Ask(),
            "its velocity has the shape [3, 1, 2, 4, 4]",
        ),
        (lambda made: replace(made, features=()), Ask(features=(0,)), "features of 0 layers, not of the 1 asked for"),
        (lambda made: replace(made, stream=None), Ask(store=True), "gave no stream to go on from"),
    ],
)
def test_a_prediction_that_lacks_what_was_asked_for_names_the_family(
    asked: Callable[..., Prediction], change: Change, ask: Ask, words: str
) -> None:
    assert asked(lambda made: made, ask).velocity.shape == (3, 4, 2, 4, 4)
    with pytest.raises(PluginError) as refused:
        asked(change, ask)
    assert str(refused.value).startswith("model 'toy' was asked for a prediction, and ")
    assert words in str(refused.value)


def test_a_derivative_that_was_forgotten_is_missed(asked: Callable[..., Prediction]) -> None:
    one = torch.ones(3, 4, 2, 4, 4)
    ask = Ask(along=Tangents(one, one[:, 0, 0, 0, 0]))
    with pytest.raises(PluginError, match="gave no derivative along the tangents"):
        asked(lambda made: replace(made, derivative=None), ask)


def test_what_a_family_raises_in_a_prediction_names_it(asked: Callable[..., Prediction]) -> None:
    with pytest.raises(
        PluginError, match=r"model 'toy': a prediction of role 'student' raised KeyError: 'blocks\.0'; DIS"
    ):
        asked(raises)


@pytest.mark.parametrize("modules", [None, {}, {"denoiser": None}])
def test_modules_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modules: object) -> None:
    facts = inspect(str(write_toy_model(tmp_path)))
    model, request = (
        ToyModel(facts, TOY.options(), torch.device("cpu"), torch.float32),
        ModelRequest(facts, True, torch.float32),
    )
    assert loaded_modules("toy", model, request).keys() == {"denoiser"}
    monkeypatch.setattr(ToyModel, "load_modules", lambda *_: modules)
    with pytest.raises(
        PluginError, match="model 'toy': loading its modules raised TypeError: torch modules by name are"
    ):
        loaded_modules("toy", model, request)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), DataError("the prompt is too long")])
def test_a_full_disk_and_a_refusal_stay_what_they_are_while_a_family_samples(error: Exception) -> None:
    class Fails:
        def sample(self, *_: object) -> Iterator[Any]:
            raise error

    role = toy_roles(spec_of(Regression))["student"]
    with pytest.raises(type(error)):
        list(sampled(Fails(), role, ValidationRequest("student"), (1, 1, 1, 1)))
