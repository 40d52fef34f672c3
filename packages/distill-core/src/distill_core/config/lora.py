"""What a run.yaml may say of LoRAs, under a role."""

from typing import Annotated, Literal

from pydantic import Field

from distill_core.config.section import Name, PathText, Positive, Section


class Lora(Section):
    """A low-rank adapter that is trained on frozen weights, instead of the weights themselves."""

    rank: Positive = 16
    """Rank of the update of each layer."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The update is scaled by alpha / rank; null: by 1."""
    targets: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = ("attention",)
    """The layers that have one: sets that the family names (`distill plugins show FAMILY`), `all-linear`, or patterns of layers' names such
    as `blocks.*.attn1.*`."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a layer's inputs that the update does not see, in predictions that gradients go through."""
    init: Literal["uniform", "gaussian"] = "uniform"
    """First weights of A, by peft's names kaiming uniform or gaussian; B starts at 0, so that a role begins as its base."""


class FixedLora(Section):
    """A LoRA file on a role's frozen weights: a style, a first stage."""

    path: PathText
    """A file of diffusers or peft, or of a trainer that diffusers reads; a folder that has one."""
    scale: float = 1.0
    """Factor of its update."""
    part: Name | None = None
    """The denoiser that the file is of, where a model has two: `transformer` or `transformer_2`; null: the first, or as a folder names
    them."""
