"""What a family answers at run time, checked as it comes: modules that are none, or a velocity of another shape, would train in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from distill_core.errors import PluginError
from distill_core.plugins.loading import CodeOf
from distill_core.protocols.model import ModelPlugin, ModelRequest, Sampler
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.protocols.role import Role
from distill_core.protocols.validator import SampledVideo, ValidationRequest


def loaded_modules(family: str, model: ModelPlugin, request: ModelRequest) -> Mapping[str, nn.Module]:
    """The modules of a folder. Raises what the family raises, PluginError for anything of its own, and for an answer that is no modules."""
    with CodeOf(f"model {family!r}", "loading its modules", passing=(OSError,)):
        modules = model.load_modules(request)
        if not (
            isinstance(modules, Mapping) and modules and all(isinstance(each, nn.Module) for each in modules.values())
        ):
            raise TypeError(f"torch modules by name are wanted, not {modules!r}")
        return modules


def sampled(
    sampler: Sampler, role: Role, request: ValidationRequest, latent_shape: tuple[int, int, int, int]
) -> Iterator[SampledVideo]:
    """The videos of a request, as they come. Raises PluginError for what the family's sampler raises of its own."""
    with CodeOf(f"model {role.family!r}", "sampling", passing=(OSError,)):
        yield from sampler.sample(role, request, latent_shape)


def answered(family: str, noisy_BTCHW: Tensor, ask: Ask, prediction: Prediction) -> Prediction:
    """The prediction, if it holds what was asked for. Raises PluginError for a family that declares what it does not give."""
    fault = _fault(noisy_BTCHW, ask, prediction)
    if fault is not None:
        raise PluginError(f"model {family!r} was asked for a prediction, and {fault}")
    return prediction


def _fault(noisy_BTCHW: Tensor, ask: Ask, prediction: object) -> str | None:
    if not isinstance(prediction, Prediction):
        return f"gave a {type(prediction).__name__}; an adapter's predict returns a Prediction"
    if prediction.velocity.shape != noisy_BTCHW.shape:
        return (
            f"its velocity has the shape {list(prediction.velocity.shape)}, the noisy latents {list(noisy_BTCHW.shape)}"
        )
    if len(prediction.features) != len(ask.features):
        return f"gave features of {len(prediction.features)} layers, not of the {len(ask.features)} asked for; fill Prediction.features"
    if ask.along is not None and prediction.derivative is None:
        return "gave no derivative along the tangents; fill Prediction.derivative"
    if ask.store and prediction.stream is None:
        return "gave no stream to go on from; fill Prediction.stream"
    return None
