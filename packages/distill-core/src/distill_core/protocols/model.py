"""A model family at run time, built once per run and family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from distill_core.plugins.specs import ModelFacts
    from distill_core.protocols.adapter import Adapter
    from distill_core.protocols.role import Role
    from distill_core.protocols.validator import SampledVideo, ValidationRequest


Later = Callable[["nn.Module", Callable[[], None]], None]
"""Is given a block whose weights are unread, of the meta device, and what reads them into host memory."""


def _unheard(_: str) -> None:
    """Where there is no log."""


@dataclass(frozen=True)
class ModelRequest:
    """The modules that one role wants.

    Attributes:
        facts: the role's folder.
        trainable: whether gradients will be asked for.
        weights_dtype: the dtype to hold weights in; float32 for trained roles (master weights).
        gradient_checkpointing: recompute activations in backward instead of keeping them.
        on_host: leave the modules in host memory, whatever the run's device: the core has their weights come and go.
        later: where it is given, a family may leave blocks unread and hand each over with what reads it; a model of which it did so stays
            in host memory. The core has the blocks read one after another.
        shared: whether processes share the tokens of a clip in its predictions (``ModelSpec.shared``,
            :func:`distill_core.ranks.peers.sharers`).
        attention: the kinds of attention that its predictions will be asked for.
        operations: what its predictions will be asked for beyond the velocity, by the names of operations: what only some of them need
            (a layer for the second time, processors for block-causal attention) is made for those alone.
        tell: says to the run's log what a person should know of the loaded modules: an engine that was chosen, weights left out.
    """

    facts: ModelFacts
    trainable: bool
    weights_dtype: torch.dtype
    gradient_checkpointing: bool = False
    attention: tuple[str, ...] = ("dense",)
    operations: frozenset[str] = frozenset()
    tell: Callable[[str], None] = _unheard
    on_host: bool = False
    later: Later | None = None
    shared: bool = False


class Sampler(Protocol):
    """Turns prompts into videos with one role's modules."""

    def sample(
        self, role: Role, request: ValidationRequest, latent_shape: tuple[int, int, int, int]
    ) -> Iterator[SampledVideo]:
        """One video per prompt and seed of a request whose fields are all set, except that one of steps and timesteps is None.

        ``latent_shape`` is [T, C, H, W]. Uses generators of its own: the global random state is left alone.
        """
        ...


@runtime_checkable
class EncodesColumns(Protocol):
    """What a family whose conditions need more of a clip than its caption has besides (``ModelFacts.columns``)."""

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        """Each declared column of a clip of uint8 frames [F, H, W, 3], by name, float32 on the CPU: what ``data encode`` writes.

        None: of a caption alone, those that follow from it (``Column.of_caption``).
        """
        ...


@runtime_checkable
class EncodesPictures(Protocol):
    """What a family that is shown pictures has besides (``ModelFacts.pictures``)."""

    def encode_pictures(self, pictures: Sequence[Tensor], size_FHW: tuple[int, int, int]) -> Mapping[str, Tensor]:
        """Each declared column, for a video of ``size_FHW`` pixels that is made of pictures, uint8 [H, W, 3] of any size each.

        Pictures are in the order of ``ModelFacts.pictures``; columns as :meth:`EncodesColumns.encode_columns` gives them.
        """
        ...


@runtime_checkable
class EncodesAhead(Protocol):
    """What a family has besides whose text encoder is large: it is loaded once, before any role is, and let go."""

    def encode_ahead(self, captions: Sequence[str], folder: Path, *, writes: bool) -> None:
        """Encode captions that will be asked for again and again, the negative one among them.

        ``folder`` is the run's own for what an earlier process encoded; with ``writes`` what is new is kept there.
        """
        ...


class ModelPlugin(Protocol):
    """Built as ``Class(facts, options, device, compute_dtype)``.

    ``facts`` is the folder that lends the run its text encoder and decoder; ``options`` an instance of the spec's options;
    ``compute_dtype`` the dtype of a forward pass (autocast), float32 or bfloat16.
    """

    @property
    def adapter(self) -> Adapter:
        """The family's operations."""
        ...

    @property
    def sampler(self) -> Sampler:
        """The family's sampler."""
        ...

    def load_modules(self, request: ModelRequest) -> Mapping[str, nn.Module]:
        """The denoiser's modules of one role, on the device."""
        ...

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 frames [F, H, W, 3] as one raw latent [C, T, H, W], float32 on the CPU, not normalised."""
        ...

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """Captions as float32 tensors [L, D] on the CPU, trimmed to their own number of tokens."""
        ...

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """How many tokens each caption has before it is cut at the text length; needs no encoder."""
        ...

    def export(
        self,
        modules: Mapping[str, nn.Module],
        base: ModelFacts,
        sampling: ValidationRequest,
        latent_shape: tuple[int, int, int, int],
        output: Path,
        dtype: torch.dtype,
    ) -> None:
        """Write a folder that the ecosystem's own pipeline loads and samples as ``sampling`` says, at ``latent_shape`` [T, C, H, W].

        Weights are stored in ``dtype``, but for those that the ecosystem keeps in float32; the modules are left as they are. Raises
        ModelFolderError, before anything is written, if no scheduler of the ecosystem can follow ``sampling``.
        """
        ...
