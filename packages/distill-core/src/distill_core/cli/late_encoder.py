"""The encoders of a model, which are loaded when there is something to encode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from distill_core.data.encoding.encoder import unmade
from distill_core.errors import PluginError
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.model import EncodesColumns, EncodesPictures, ModelPlugin


@dataclass(frozen=True)
class EncoderWhenNeeded:
    """The encoders of a model, which ``load`` gives when there is something to encode; ``facts`` are the model's."""

    facts: ModelFacts
    load: Callable[[], ModelPlugin]

    @cached_property
    def _model(self) -> ModelPlugin:
        return self.load()

    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 frames [F, H, W, 3] as one raw latent [C, T, H, W], float32 on the CPU."""
        return self._model.encode_video(frames)

    def encode_caption(self, captions: Sequence[str]) -> Sequence[Tensor]:
        """Captions as float32 tensors [L, D] on the CPU, trimmed to their own number of tokens."""
        return self._model.encode_caption(captions)

    def encode_columns(self, frames: Tensor | None, caption: str) -> Mapping[str, Tensor]:
        """The columns that the family declares, float32 on the CPU. Raises PluginError for a family that does not make them."""
        model = self._model
        if not isinstance(model, EncodesColumns):
            raise PluginError(unmade(self.facts))
        return model.encode_columns(frames, caption)

    def encode_pictures(self, pictures: Sequence[Tensor], size_FHW: tuple[int, int, int]) -> Mapping[str, Tensor]:
        """The same for a video that is made of pictures."""
        model = self._model
        if not isinstance(model, EncodesPictures):
            raise PluginError(unmade(self.facts))
        return model.encode_pictures(pictures, size_FHW)

    def count_tokens(self, captions: Sequence[str]) -> Sequence[int]:
        """How many tokens each caption has before it is cut."""
        return self._model.count_tokens(captions)
