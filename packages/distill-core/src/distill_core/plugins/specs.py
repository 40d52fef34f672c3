"""What a plugin tells the core about itself: frozen descriptions that import neither torch nor the plugin's implementation.

A spec is enough to list a plugin, to check a run.yaml against it, and to refuse a run before any weight is loaded. The code that
does the work is named as ``"module:Name"`` and imported only when a run names the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from distill_core.plugins.columns import Column
from distill_core.plugins.latent_space import LatentSpace as LatentSpace
from distill_core.plugins.lora import LoraSupport
from distill_core.plugins.option_type import Options as Options
from distill_core.plugins.reward_spec import Rewards, RewardSpec
from distill_core.protocols.validator import ValidationRequest

PLUGIN_API = 2
"""The number of the contract in this module and in :mod:`distill_core.protocols`. A plugin module states the number that it was
written for as its own ``PLUGIN_API = 2``; it rises when a plugin must be changed to go on working."""

Kind = Literal["model", "method", "metric", "reward", "importer"]
"""What a plugin can be."""


@dataclass(frozen=True)
class ModelFacts:
    """What can be known of a model's folder without loading a weight. Made by the family's ``inspect`` function.

    Attributes:
        path: the local folder (of a hub id: the cached snapshot's).
        summary: one line for a person, e.g. "text to video, 1.42B parameters".
        latent_space: the space of its latents.
        text_width: features D of one text token.
        text_length: tokens that the model attends, padding included.
        patch: latent frames, rows and columns per token; a latent's T, H and W must be multiples of it.
        max_positions: the largest numbers of tokens along T, H and W that the model has positions for.
        flow_shift: the timestep shift that the folder's own scheduler records, or None.
        sampling: how the folder says that it is to be sampled (a few-step export does), or None; its ``role`` means nothing.
        latent_shape: [T, C, H, W] that the folder says it was trained at, or None.
        encoders: the subfolders of what encodes videos and captions, whose content tells data apart; () if it is spread over the folder.
        autoencoder: the subfolder that holds what makes latents of pixels; empty where it is no subfolder of its own.
        decoding: how the names of those of its weights begin that take no part in making latents.
        feature_width: features of one token in the hidden layers, for modules that are built on them; 0 if it hands out none.
        layers: hidden layers whose outputs can be asked for; 0 if it hands out none.
        boundary: the timestep in [0, 1000] from which on a second expert takes over, or None where there is one alone.
        embedded_guidance: whether guidance is an input of the model itself, so that predictions are guided already.
        max_frames: the most pixel frames of a sample; 1 for pictures, None where only positions limit it.
        columns: what its conditions need of a row besides the encoded caption; its adapter finds them in ``Row.tensors``.
        pictures: what must be shown to it besides a caption, by the names of :data:`distill_core.protocols.adapter.PICTURES`.
        lacks: the operations of its family that this member does not offer.
        frozen_alone: why no role can train all of its weights, e.g. "transformer.gguf is quantized"; empty where one can.
        heads: attention heads of a layer, which processes that share the tokens of a clip divide among themselves; 0 where they cannot.
    """

    path: Path
    summary: str
    latent_space: LatentSpace
    text_width: int
    text_length: int
    patch: tuple[int, int, int]
    max_positions: tuple[int, int, int]
    flow_shift: float | None = None
    sampling: ValidationRequest | None = None
    latent_shape: tuple[int, int, int, int] | None = None
    encoders: tuple[str, ...] = ()
    autoencoder: str = ""
    decoding: tuple[str, ...] = ()
    feature_width: int = 0
    layers: int = 0
    boundary: float | None = None
    embedded_guidance: bool = False
    max_frames: int | None = None
    columns: tuple[Column, ...] = ()
    pictures: tuple[str, ...] = ()
    lacks: frozenset[str] = frozenset()
    frozen_alone: str = ""
    heads: int = 0

    def misfit(self, latent_CTHW: tuple[int, ...]) -> str | None:
        """Why latents of shape [C, T, H, W] do not fit this model, or None if they do."""
        if len(latent_CTHW) != 4:
            return f"a latent has the four dimensions [C, T, H, W], these have {len(latent_CTHW)}"
        channels, *grid = latent_CTHW
        if channels != self.latent_space.channels:
            turned = "; are they stored as [T, C, H, W]?" if latent_CTHW[1] == self.latent_space.channels else ""
            return f"they have {channels} channels, the model's latents have {self.latent_space.channels}{turned}"
        for name, size, patch, positions in zip("THW", grid, self.patch, self.max_positions, strict=True):
            if size % patch:
                return f"{name} = {size} is not a multiple of the model's patch size {patch}"
            if size // patch > positions:
                return f"{name} = {size} makes {size // patch} positions, the model has {positions}"
        frames = self.latent_space.whole_frames_of(grid[0])
        if self.max_frames is not None and frames > self.max_frames:
            return f"T = {grid[0]} makes {frames} frames, the model takes {self.max_frames}"
        return None


class Inspect(Protocol):
    """A family's light look at a model's folder."""

    def __call__(self, path: str) -> ModelFacts:
        """Read the folder's JSON files only. Raises ModelFolderError for a folder that is no supported pipeline of the family."""
        ...


def _as_found(facts: ModelFacts, _: Any) -> ModelFacts:
    return facts


def _as_given(_: ModelFacts, options: Any) -> Any:
    return options


def _nothing_to_note(*_: Any) -> Iterable[str]:
    return ()


def _untold(*_: Any) -> None:
    """Where only the method itself can tell."""


class RoleNotes(Protocol):
    """What a family has to say of a role before it is trained."""

    def __call__(self, facts: ModelFacts, options: Any, sampling: ValidationRequest | None) -> Iterable[str]:
        """Lines for a person, on a trained role's settled facts under an instance of the family's options.

        ``sampling`` is how the run's result will be sampled, and exported, where that is this role's and known: complete but for prompts.
        """
        ...


@dataclass(frozen=True)
class ModelSpec:
    """One model family.

    Attributes:
        name: what ``recipe.family`` calls it.
        summary: one line for ``distill plugins list``.
        options: the type of ``pipeline_config``, a subclass of :class:`Options`.
        inspect: ``"module:function"``, an :class:`Inspect`; its module imports no torch.
        build: ``"module:Class"``, a :class:`distill_core.protocols.ModelPlugin`.
        operations: the names of the adapter operations it offers (see :mod:`distill_core.protocols.adapter`).
        attention: the kinds of attention that its predictions can be asked for.
        dense_only: the operations among them that predictions offer under dense attention alone.
        latent_spaces: names of the latent spaces its members use; families that share one, and a condition, can share a run.
        settle: a folder's facts under an instance of ``options``; raises ModelFolderError where the two contradict each other.
        complete: the options with what they leave open as a folder records it; a function of settled facts and an instance of
            ``options``, as ``settle`` is. What a run settles on is written down by it, and a folder is sampled as it says.
        notes: ``"module:function"``, :class:`RoleNotes`; empty for none. Imported when a run has been checked, so it may import torch.
        lora: its sets of layers for LoRAs, and its files of them.
        kernels: ``"module:Class"``, a :class:`distill_core.protocols.kernels.AttentionKernels`; empty for a family without a choice.
        shared: those of them that it offers, densely, where processes share a clip's tokens (``distributed.context``); none: they cannot.
        weightless: whether it heeds :mod:`distill_core.plugins.weightless`, so that ``distill plan`` can tell what a run of it needs.
    """

    kind: ClassVar[Kind] = "model"

    name: str
    summary: str
    options: type[Options]
    inspect: str
    build: str
    operations: frozenset[str]
    attention: tuple[str, ...] = ("dense",)
    dense_only: frozenset[str] = frozenset()
    latent_spaces: tuple[str, ...] = ()
    settle: Callable[[ModelFacts, Any], ModelFacts] = field(default=_as_found)
    complete: Callable[[ModelFacts, Any], Any] = field(default=_as_given)
    notes: str = ""
    lora: LoraSupport = field(default_factory=LoraSupport)
    kernels: str = ""
    shared: frozenset[str] = frozenset()
    weightless: bool = False

    @property
    def targets(self) -> Mapping[str, str]:
        """What it names to be imported, by field."""
        named = {"inspect": self.inspect, "build": self.build, "notes": self.notes}
        named |= {"lora": self.lora.files, "kernels": self.kernels}
        return {field: target for field, target in named.items() if target}


@dataclass(frozen=True)
class RunSize:
    """What a run trains on at once, for modules that keep something of it.

    Attributes:
        latent_shape: [T, C, H, W] of the most samples.
        batch_size: samples of a batch, B.
    """

    latent_shape: tuple[int, int, int, int]
    batch_size: int


@dataclass(frozen=True)
class RoleNeed:
    """What a method asks of one role.

    Attributes:
        trainable: whether the method trains it; ``roles.<name>.trainable`` must agree.
        operations: the names of the adapter operations that the method calls on it. It is refused any other.
        optional: whether a run may leave it out.
        module: ``"module:Factory"``: the role is no model but a module of the method's own (a discriminator's head, running statistics as
            buffers, a reward), made as ``Factory(facts, options)``: what the folders of the other roles say, by role, and the method's
            options. Its first weights are drawn from a key of the run's seed and its name. It has no path, a run need not name it (and
            may, to give it a learning rate), and all of it is in every checkpoint.
        follows: another role, whose weights it starts with and moves towards after that role's steps, by ``Method.keeps``: an averaged
            target, an old policy. Frozen, held in float32, without a path or an optimizer; a run need not name it, and all of its leader's
            trained weights are in every checkpoint.
        sized: whether the factory of ``module`` is given the run's :class:`RunSize` too: ``Factory(facts, options, size)``.
        drawn_to: another trained model of the same architecture, towards which a trained one is moved after that role's steps, beside its
            own training: it keeps the share of its weights that ``Method.keeps`` says.
        rewards: the role is the rewards of the run as one module, ``module(pixels_BFCHW, captions)``, a
            :class:`distill_core.training.rewards.WeightedRewards`; see ``Demands.rewards``. A run need not name it; no checkpoint has it.
        stage_of: the methods of which one made the checkpoint of another run that the role starts from, if any; none named: whichever.
    """

    trainable: bool
    operations: frozenset[str] = frozenset()
    optional: bool = False
    module: str | None = None
    follows: str | None = None
    sized: bool = False
    drawn_to: str | None = None
    rewards: bool = False
    stage_of: tuple[str, ...] = ()

    @property
    def is_model(self) -> bool:
        """Whether it is a model of some family, and not a module of the method's own, or the rewards."""
        return self.module is None and not self.rewards

    @property
    def sourceless(self) -> bool:
        """Whether it has no folder of its own."""
        return not self.is_model or self.follows is not None


@dataclass(frozen=True)
class Demands:
    """What a method asks for under given options, beyond its roles.

    Attributes:
        latents: whether its batches must hold clean latents; captions alone do otherwise.
        attention: the kinds of attention that it will ask of each role; of a role that is not named here, dense alone.
        roles: the roles that it works with under these options, with what it needs of each; None: all of the spec's, as they stand there.
        columns: what it needs of a row besides latent and caption; it finds them in ``Batch.tensors``.
        least_frames: latent frames that a clip must have at least, e.g. more than one block of them.
        frames_of: what the number of a clip's latent frames must be a multiple of, e.g. the frames of a block.
        by_place: whether what it keeps belongs to places in the batch, whatever rows come there: a run of several processes, of
            accumulated gradients or of clips of several shapes is refused, and the order of rows matters.
        makers: the roles that make those of the columns that have ``made_with``, by ``MethodSpec.makes``, before the run. A run that
            trains on columns that are made need not name a maker that it has no other use for (``RoleNeed.optional``).
        rewards: what it asks of the run's rewards; it finds them in a role that is ``RoleNeed(trainable=False, rewards=True)``.
    """

    latents: bool = True
    attention: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: Mapping[str, RoleNeed] | None = None
    columns: tuple[Column, ...] = ()
    least_frames: int = 1
    frames_of: int = 1
    by_place: bool = False
    makers: tuple[str, ...] = ()

    @property
    def made_columns(self) -> tuple[Column, ...]:
        """Those of the columns that the method makes itself."""
        return tuple(column for column in self.columns if column.made_with is not None)

    rewards: Rewards = "none"

    def attention_of(self, role: str) -> tuple[str, ...]:
        """The kinds of attention that the predictions of ``role`` will be asked for."""
        return self.attention.get(role, ("dense",))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of attention that any role will be asked for."""
        return tuple(dict.fromkeys(kind for kinds in self.attention.values() for kind in kinds))


@dataclass(frozen=True)
class MetricSpec:
    """One measure of sampled videos.

    Attributes:
        name: what ``validation.metrics`` calls it.
        summary: one line for ``distill plugins list``.
        options: the type of ``validation.metrics.<name>``, a subclass of :class:`Options`.
        build: ``"module:Class"``, a :class:`distill_core.protocols.Metric`, called as ``Class(options)``.
        headline: the figures that a table shows, in its order; the others are logged too.
    """

    kind: ClassVar[Kind] = "metric"

    name: str
    summary: str
    options: type[Options]
    build: str
    headline: tuple[str, ...] = ()

    @property
    def targets(self) -> Mapping[str, str]:
        """What it names to be imported, by field."""
        return {"build": self.build}


def _fits_all(*_: Any) -> Iterable[tuple[str, str]]:
    return ()


@dataclass(frozen=True)
class MethodSpec:
    """One method.

    Attributes:
        name: what ``recipe.method`` calls it.
        summary: one line for ``distill plugins list``.
        options: the type of ``method_config``, a subclass of :class:`Options`.
        build: ``"module:Class"``, a :class:`distill_core.protocols.Method`, called as ``Class(roles, options)``.
        roles: the roles it works with under any options, in the order in which they are shown; the first one's folder also lends the run
            its text encoder and its decoder. What depends on options, ``demands`` says.
        demands: what the options ask for beyond the roles; a function of an instance of ``options``.
        roles_to_step: the roles that step at the end of a step, a function of an instance of ``options`` and of the step, as
            :meth:`distill_core.protocols.Method.roles_to_step` has them; lets a run that would not train a role be refused before
            any weight is loaded. None where only the method itself can tell.
        sampling: how its result will be sampled, as :meth:`distill_core.protocols.Method.validation` has it at the end; a function of an
            instance of ``options`` and of the run's flow shift of a timestep. None where only the method itself can tell.
        notes: what a person should know of the options before training, e.g. a setting by another's convention; a function of an
            instance of ``options``.
        makes: ``"module:Class"``, a :class:`distill_core.protocols.method.ColumnMaker`, called as ``Class(roles, options)`` with the roles
            that ``Demands.makers`` names; empty where it makes no column. ``distill data trajectories`` runs it.
        guidance: of roles that it guides by two predictions, the scale, 1 where the options have it guide nothing; a function of an
            instance of ``options``. It is noted where the role's model is told a guidance besides, and what has no effect at 1.
        misfits: which options the models contradict, each with its key in ``method_config`` and a message that names the remedy; a function
            of an instance of ``options`` and of the settled facts of each role that has a folder. Such a run is refused.
    """

    kind: ClassVar[Kind] = "method"

    name: str
    summary: str
    options: type[Options]
    build: str
    roles: Mapping[str, RoleNeed]
    demands: Callable[[Any], Demands] = field(default=lambda _: Demands())
    roles_to_step: Callable[[Any, int], tuple[str, ...]] | None = None
    sampling: Callable[[Any, Callable[[float], float]], ValidationRequest | None] = field(default=_untold)
    notes: Callable[[Any], Iterable[str]] = field(default=_nothing_to_note)
    makes: str = ""
    guidance: Callable[[Any], Mapping[str, float]] = field(default=lambda _: {})
    misfits: Callable[[Any, Mapping[str, ModelFacts]], Iterable[tuple[str, str]]] = field(default=_fits_all)

    @property
    def targets(self) -> Mapping[str, str]:
        """What it names to be imported, by field."""
        makes = {"makes": self.makes} if self.makes else {}
        modules = {f"roles.{name}.module": need.module for name, need in self.roles.items() if need.module is not None}
        return {"build": self.build, **makes, **modules}

    def needs(self, demands: Demands | None) -> Mapping[str, RoleNeed]:
        """Its roles under the demands of given options; under None, where the options are at fault, all that it may have."""
        return self.roles if demands is None or demands.roles is None else demands.roles


@dataclass(frozen=True)
class ImporterSpec:
    """One trainer whose configs can be read.

    Attributes:
        name: what ``distill import --from`` calls it.
        summary: one line for ``distill plugins list``.
        build: ``"module:name"``, a :class:`distill_core.protocols.importer.Importer`.
        options: the type of its options; it has none.
    """

    kind: ClassVar[Kind] = "importer"

    name: str
    summary: str
    build: str
    options: type[Options] = Options

    @property
    def targets(self) -> Mapping[str, str]:
        """What it names to be imported, by field."""
        return {"build": self.build}


PluginSpec = ModelSpec | MethodSpec | MetricSpec | RewardSpec | ImporterSpec
"""What a plugin can offer."""
