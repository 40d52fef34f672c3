"""The default role: modules of one participant, the family's operations on them, and what trains them.

A role is the weights that it computes with, which other roles may share, and the part of them that is its own: all, or a LoRA on frozen
ones. It knows its own name and nothing of other roles but whom it follows. Frozen means no graph: the role sees to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, cached_property
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from distill_core import flow
from distill_core.config.recomputation import Recomputation
from distill_core.errors import PluginError
from distill_core.plugins.loading import CodeOf
from distill_core.protocols.adapter import (
    Adapter,
    DecodesLatents,
    DecodesPixels,
    DropsCondition,
    EncodesCondition,
    EncodesPixels,
    Extends,
    HasExperts,
    HasUnconditional,
    MixesUnconditional,
    ShiftsFlow,
)
from distill_core.protocols.condition import Condition, Prompt
from distill_core.protocols.prediction import Ask, Prediction
from distill_core.protocols.role import PLAIN
from distill_core.ranks.peers import Peers, sharing
from distill_core.ranks.ranks import ALONE, Ranks
from distill_core.training.answered import answered
from distill_core.training.averages import WeightAverage
from distill_core.training.both_experts import Asked, joined_by
from distill_core.training.guarded_adamw import Flag
from distill_core.training.kernels import Kernel, attending
from distill_core.training.lora import LoraWeights, Worn, wearing
from distill_core.training.offload import Offload
from distill_core.training.optimization import RoleOptimizer
from distill_core.training.parts import part
from distill_core.training.recompute import WHOLE, recomputing

OWN_MODULE = "module"
"""The name of the only module of a role that is a module of the method's own."""

OfferedT = TypeVar("OfferedT")


@cache
def _offers(adapter: type[object], kind: type[object]) -> bool:
    """Whether adapters of a class have an operation. Asked once for each: protocols are slow to tell, and a step asks often."""
    return issubclass(adapter, kind)


class RoleHandle:
    """The :class:`distill_core.protocols.Role` of every run, but that it answers whatever its family offers; see :class:`DeclaredRole`.

    Attributes:
        family: its model family; that of the run's first role for a module of the method's own.
        latent_shape: [T, C, H, W] that the run samples at.
        follows: the role that it moves towards.
        drawn_to: the role that it moves towards beside its own training.
        container: its modules; shared with other roles where all of them leave the weights alone.
        lora: the low-rank adapter that is its own; None for a role whose own part is all of its weights.
        worn: the adapters of its predictions, its own last.
        recomputation: what its blocks, if they were asked to, recompute in backward.
        offload: what has its frozen weights come and go; None where they stay on the device.
        kernel: what its attention is computed by; None: as the family does.
        guidance_passes: in how many passes both sides of guidance are asked; None: in one where each pass has its weights come from host
            memory or from other processes, else in two.
        peers: the processes that share the tokens of its predictions' clips; None where it has them alone. Set once its weights are there.
        whole: whether all of its weights are state of the run, although nothing trains them by gradient: a follower's.
        optimizer: what trains the role; None for a frozen one. Set once, when the run is built.
        average: the role's EMA, if it keeps one.
        among: the ranks that its weights lie on in parts; alone where they are whole. Set once, when they are spread.
        sparsity: of its sparse attention, where a prediction is not told another; the trainer sets it, once per step.
        done: whether it is due and its method has said that nothing asks it any more until the next micro-step: it may have stepped.
    """

    def __init__(
        self,
        name: str,
        modules: Mapping[str, nn.Module] | nn.ModuleDict,
        adapter: Adapter,
        *,
        trainable: bool,
        family: str = "",
        latent_shape: tuple[int, int, int, int] = (1, 1, 1, 1),
        follows: str | None = None,
        drawn_to: str | None = None,
        lora: LoraWeights | None = None,
        fixed: Worn = (),
        recomputation: Recomputation | None = WHOLE,
        offload: Offload | None = None,
        kernel: Kernel | None = None,
        guidance_passes: int | None = 2,
        peers: Peers | None = None,
    ) -> None:
        self.name = name
        self.trainable = trainable
        self.family = family
        self.latent_shape = latent_shape
        self.container = modules if isinstance(modules, nn.ModuleDict) else nn.ModuleDict(modules)
        self.lora = lora
        self.worn: Worn = fixed if lora is None else (*fixed, lora)
        self.adapter = adapter
        self.follows = follows
        self.drawn_to = drawn_to
        self.recomputation = recomputation
        self.offload = offload
        self.kernel = kernel
        self.guidance_passes = guidance_passes
        self.peers = peers
        self.whole = follows is not None or OWN_MODULE in modules
        self.optimizer: RoleOptimizer | None = None
        self.average: WeightAverage | None = None
        self.among: Ranks = ALONE
        self.sparsity = 0.0
        self.done = False
        self._border = CodeOf(f"model {family!r}", f"a prediction of role {name!r}")
        self.settle()

    def settle(self) -> None:
        """Gradients, and the mode of training, for what is trained and nothing else."""
        for each in (self.container, *self.worn):
            each.requires_grad_(each is self.own and self.trainable).train(each is self.own and self.trainable)

    # What it consists of

    @property
    def boundary(self) -> float | None:
        """The timestep between its two experts, if it has two."""
        if not _offers(type(self.adapter), HasExperts):
            return None
        return cast(HasExperts, self.adapter).boundary(self.modules)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The role's modules, by the family's names."""
        return dict(self.container.items())

    @property
    def module(self) -> nn.Module:
        """The module of a role that is the method's own. Raises PluginError for a role that is a model."""
        if OWN_MODULE not in self.container:
            raise PluginError(f"role {self.name!r} is a model and no module of the method's own; ask its predictions")
        return self.container[OWN_MODULE]

    @property
    def own(self) -> nn.Module:
        """What is the role's own, and trained if anything is: its LoRA, or all of its modules."""
        return self.container if self.lora is None else self.lora

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes by gradient, by their names in ``own``."""
        return {name: parameter for name, parameter in self.own.named_parameters() if parameter.requires_grad}

    def state_tensors(self) -> dict[str, Tensor]:
        """The weights and buffers that a checkpoint must hold, by their names in ``own``; the role's own, not copies.

        Of a trained model what training changes: its trained parameters and its persistent buffers. Of a follower, and of a module of the
        method's own, all. Of a frozen model nothing: it is where it came from.
        """
        state: dict[str, Tensor] = self.own.state_dict()
        if self.whole:
            return state
        if not self.trainable:
            return {}
        frozen = {name for name, parameter in self.own.named_parameters() if not parameter.requires_grad}
        return {name: tensor for name, tensor in state.items() if name not in frozen}

    @cached_property
    def moving_buffers(self) -> tuple[str, ...]:
        """The names of the buffers that training may move: floating-point state of a trained role."""
        if not self.trainable:
            return ()
        kept, buffers = self.own.state_dict().keys(), self.own.named_buffers()
        return tuple(name for name, buffer in buffers if name in kept and buffer.is_floating_point())

    def frozen_tensors(self) -> dict[str, Tensor]:
        """The weights and buffers that no checkpoint holds, by name: what the role rests on."""
        held = self.state_tensors() if self.lora is None else {}
        found = {name: tensor for name, tensor in self.weights().items() if name not in held}
        for number, lora in enumerate(self.worn[: len(self.worn) - (self.lora is not None)]):
            found |= {f"fixed_loras.{number}.{name}": tensor for name, tensor in lora.state_dict().items()}
        return found

    def weights(self) -> dict[str, Tensor]:
        """What its modules hold, by name, wherever it lives: for reading."""
        found: dict[str, Tensor] = self.container.state_dict()
        if self.offload is None:
            return found
        hosted = self.offload.hosted()
        names = {name: id(parameter) for name, parameter in self.container.named_parameters(remove_duplicate=False)}
        return {name: hosted.get(names.get(name, 0), tensor) for name, tensor in found.items()}

    def rest(self) -> None:
        """A backward pass is over: weights that come and go leave the device."""
        if self.offload is not None:
            self.offload.rest()

    def merge(self) -> None:
        """Put what its predictions wear into its weights, for good; for a role whose weights are no other's."""
        for lora in self.worn:
            lora.merge()
        self.lora, self.worn = None, ()

    @property
    def leader(self) -> str | None:
        """The role that it moves towards after that role's steps, by ``Method.keeps``."""
        return self.drawn_to if self.follows is None else self.follows

    @torch.no_grad()
    def follow(self, leader: RoleHandle, keep: float, flag: Flag | None = None) -> None:
        """θ ← keep · θ + (1 - keep) · θ of ``leader``, for parameters; buffers become the leader's.

        A broken step, by its ``flag``, leaves all bitwise as it is.
        """
        theirs = leader.own.state_dict()
        parameters = dict(self.own.named_parameters())
        for name, whole in self.own.state_dict().items():
            tensor, aim = part(whole), part(theirs[name]).to(whole.dtype)
            moved = torch.lerp(tensor, aim, 1.0 - keep) if name in parameters else aim
            tensor.copy_(moved if flag is None else torch.where(flag.broken > 0, tensor, moved))

    # Predictions

    def _graph(self, input_gradients: bool) -> AbstractContextManager[object]:
        """Inside, there is a graph if the role is trained, or one is asked for."""
        return nullcontext() if self.trainable or input_gradients else torch.no_grad()

    def predict(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Prediction:
        """v and whatever else is asked for; without a graph for a frozen role, unless ``input_gradients`` asks for one."""
        if ask.sparsity is None:
            ask = replace(ask, sparsity=self.sparsity)
        with (
            self._border,
            wearing(self.worn),
            recomputing(self.recomputation),
            attending(self.kernel),
            sharing(self.peers),
            self._graph(input_gradients),
        ):
            prediction = self._asked(Asked(noisy_BTCHW, timestep, condition, ask))
        return answered(self.family, noisy_BTCHW, ask, prediction)

    def _asked(self, asked: Asked) -> Prediction:
        """The family's answer; of two experts in parts, by those that any rank needs."""
        count = len(asked.noisy)
        if not self.among.alone and (boundary := self.boundary) is not None:
            asked = joined_by(asked, boundary, self.among)
        made = self.adapter.predict(self.modules, asked.noisy, asked.timestep, asked.condition, asked.ask)
        return made if len(asked.noisy) == count else made.first(count)

    def anywhere(self, wanted: bool) -> bool:
        """Whether a prediction is wanted on any rank, where the weights are in parts."""
        return self.among.anywhere([wanted])[0]

    def predict_velocity(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Tensor:
        """v ≈ ε - x0, float32 [B, T, C, H, W]."""
        return self.predict(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients).velocity

    def predict_x0(
        self,
        noisy_BTCHW: Tensor,
        timestep: Tensor,
        condition: Condition,
        ask: Ask = PLAIN,
        *,
        input_gradients: bool = False,
    ) -> Tensor:
        """x̂0 = x_t - σ v, float32 [B, T, C, H, W]."""
        velocity_BTCHW = self.predict_velocity(noisy_BTCHW, timestep, condition, ask, input_gradients=input_gradients)
        with self._graph(input_gradients):
            return flow.x0_of(noisy_BTCHW, velocity_BTCHW, timestep)

    # The flow and the family's other operations

    def _offering(self, kind: type[OfferedT], operation: str) -> OfferedT:
        """The adapter, as one that has the operation. Raises PluginError for a family that declares what it does not have."""
        protocol: type = kind
        if not _offers(type(self.adapter), protocol):
            raise PluginError(f"model {self.family!r} declares {operation!r}, and its adapter has no such operation")
        return cast(OfferedT, self.adapter)

    def add_noise(self, clean_BTCHW: Tensor, noise_BTCHW: Tensor, timestep: Tensor) -> Tensor:
        """x_t = (1 - σ) x0 + σ ε."""
        return flow.add_noise(clean_BTCHW, noise_BTCHW, timestep)

    def shift_timestep(self, timestep: Tensor, latent_shape: tuple[int, int, int, int] | None = None) -> Tensor:
        """The flow shift of samples of a shape, on timesteps in [0, 1000]."""
        shape = self.latent_shape if latent_shape is None else latent_shape
        return flow.shift_timestep(timestep, self._offering(ShiftsFlow, "flow_shift").flow_shift(shape))

    def unconditional(self, condition: Condition) -> Condition:
        """The "unconditional" side of guidance."""
        return self._offering(HasUnconditional, "unconditional").unconditional(condition)

    @property
    def guides_at_once(self) -> bool:
        """Whether both sides of guidance are asked in one pass."""
        if self.guidance_passes is None:
            return self.offload is not None or not self.among.alone
        return self.guidance_passes == 1

    def unconditional_where(self, condition: Condition, mask_B: Tensor) -> Condition:
        """The unconditional side where the mask [B] is true."""
        return self._offering(MixesUnconditional, "unconditional_where").unconditional_where(condition, mask_B)

    def drop_condition(self, condition: Condition, dropped_B: Tensor) -> Condition:
        """The empty caption where the mask [B] is true."""
        return self._offering(DropsCondition, "drop_condition").drop_condition(condition, dropped_B)

    def encode_condition(self, prompts: Sequence[Prompt]) -> Condition:
        """Prompts through the family's encoders."""
        return self._offering(EncodesCondition, "encode_condition").encode_condition(prompts)

    def decode_latents(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as uint8 frames [B, F, H', W', 3]."""
        return self._offering(DecodesLatents, "decode_latents").decode_latents(latents_BTCHW)

    def decode_pixels(self, latents_BTCHW: Tensor) -> Tensor:
        """Normalised latents as float32 frames [B, F, 3, H', W'] in [0, 1], with the graph."""
        return self._offering(DecodesPixels, "decode_pixels").decode_pixels(latents_BTCHW)

    def encode_pixels(self, pixels_BFCHW: Tensor) -> Tensor:
        """float frames [B, F, 3, H', W'] in [0, 1] as normalised latents, with the graph."""
        return self._offering(EncodesPixels, "encode_pixels").encode_pixels(pixels_BFCHW)

    def extension(self, name: str) -> Callable[..., object]:
        """An operation of the family's own, on this role's modules."""
        operation = self._offering(Extends, name).extension(name)

        def worn(*args: object, **kwargs: object) -> object:
            """The operation under the role's LoRAs."""
            with wearing(self.worn), recomputing(self.recomputation), attending(self.kernel):
                return operation(self.modules, *args, **kwargs)

        return worn

    # The averaged weights

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the modules hold the EMA weights, if the role keeps an EMA."""
        if self.average is None:
            yield
            return
        with self.average.applied(self.trained_parameters()):
            yield
