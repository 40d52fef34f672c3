"""What a run.yaml may say: typed, strict, frozen. Every key carries its meaning, from which docs/run-yaml.md is made.

``pipeline_config`` and ``method_config`` belong to the plugins that the recipe names; they are typed there and checked in
:mod:`distill_core.config.resolve`.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from distill_core.config.duration import Duration
from distill_core.config.lora import FixedLora, Lora
from distill_core.config.sampled import Comparison, Validation
from distill_core.config.section import Name, PathText, Positive, Section

LrSchedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "polynomial"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Recipe(Section):
    """Which plugins make the run."""

    family: str
    """The model family, by its plugin's name (`distill plugins list`)."""
    method: str
    """The method, by its plugin's name."""


class Ema(Section):
    """An exponential moving average of a role's weights; validation and export use it."""

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Share of the old average that each of the role's optimizer steps keeps. Others often count training steps: of a role that steps on
    every fifth, 0.98 there is 0.98^5 here."""
    start_step: Annotated[int, Field(ge=0)] = 0
    """Training step up to which the average follows the weights exactly."""
    placement: Literal["device", "cpu"] = "device"
    """Where the average lives. cpu: in host memory; each of its tensors comes to the device for an update, and goes back."""


class Optimization(Section):
    """How weights are trained. Under `training` it is the default of every role, under a role it is that role's own."""

    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """adamw8bit: AdamW of torchao, whose two moments take 8 bits a weight instead of 64; the host waits for each of its updates."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    """Peak learning rate of AdamW."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW's β1 and β2."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decoupled weight decay."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's ε."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients of the role are scaled down to this norm; null leaves them alone."""
    lr_scheduler: LrSchedule = "constant"
    """Shape of the learning rate over the role's own updates: it reaches its end at the end of the run, however seldom the role steps."""
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Updates of the role over which the rate rises from 0, before the shape begins."""
    lr_num_cycles: Annotated[float, Field(gt=0)] = 0.5
    """Waves of the cosine; 0.5 falls from the peak to the end once."""
    lr_power: Annotated[float, Field(gt=0)] = 1.0
    """Exponent of the polynomial."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Floor of cosine_with_min_lr and polynomial, as a share of the peak."""


LIBRARIES = {"int8": "torchao", "fp8": "torchao", "nf4": "bitsandbytes"}
"""Weights in fewer bits, and the library of each, which is also the name of the extra of distill-core."""
NULL_IS_SAID = frozenset({"max_grad_norm"})
"""Keys of an optimizer whose null is a setting of its own."""


class FirstStage(Section):
    """A checkpoint of another run that a role starts from."""

    run: PathText
    """The run directory."""
    role: Name | None = None
    """The role there; null: the one that its method samples."""
    step: Positive | None = None
    """The checkpoint's step; null: the newest good one."""
    averaged: bool = True
    """Take the role's average, where the run kept one."""


class RoleConfig(Section):
    """One role. The names are the method's: `distill plugins show METHOD` lists those it needs."""

    family: str | None = None
    """The role's model family; null means `recipe.family`."""
    path: PathText | None = None
    """A pipeline folder, or a hub id, `organisation/name`; left out for a role that is a module of the method's own or follows another."""
    base: Name | None = None
    """The role whose frozen weights this one uses, instead of a `path`. Frozen and LoRA roles of one `path` share them anyway."""
    lora: Lora | None = None
    """Train a LoRA on frozen weights; `{}` is one of rank 16 on the attention; null trains all weights."""
    fixed_loras: tuple[FixedLora, ...] = ()
    """LoRA files that the role's predictions wear, none of them trained."""
    checkpoint: FirstStage | None = None
    """Start from a checkpoint of another run of the folder at `path`, instead of from its own weights; null: from its own."""
    trainable: bool = True
    """Whether the run trains the role; must be what the method says."""
    weights: Literal["auto", "fp32", "bf16", "int8", "fp8", "nf4"] = "auto"
    """What the weights are held in. auto: fp32 for weights that are trained (master weights), the compute dtype for frozen ones, those
    under a LoRA too; a LoRA itself is fp32. int8, fp8 (torchao), nf4 (bitsandbytes): the layers of a frozen model's blocks."""
    placement: Literal["device", "cpu", "stream"] = "device"
    """Where frozen weights live, those under a LoRA too. cpu: in host memory, and on the device for the length of a pass. stream: block by
    block, the next one on its way while one computes."""
    guidance_passes: Literal[1, 2] | None = None
    """Passes by which the method predicts both sides of this role's guidance: 2, the captions, then the negative prompt; 1, both as one
    batch, so that weights that lie elsewhere come once. null: 1 where they do (`placement`, `distributed.shard`), else 2."""
    attention: str | None = None
    """The kernel that dense attention is computed by, by the family's names (diffusers': native, flash, flash_hub, sage and others); null:
    as the family does."""
    recompute: Literal["none", "selective", "full"] | None = None
    """Activations of this role's blocks in backward: kept, made again but for what attention gives, made again. null: as
    `training.enable_gradient_checkpointing_type` says."""
    recompute_every: Positive | None = None
    """Overrides `training.recompute_every` for this role."""
    compile: bool | None = None
    """Overrides `training.compile` for this role. Roles of one set of weights are compiled together if one of them is."""
    ema: Ema | None = None
    """Keep an average of the role's weights; null keeps none."""
    optimizer: Literal["adamw", "adamw8bit"] | None = None
    """Overrides `training.optimizer` for this role; so do the keys below, each for its own."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate for this role."""
    betas: tuple[Beta, Beta] | None = None
    """AdamW's β1 and β2 for this role."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay for this role."""
    adam_epsilon: Annotated[float, Field(gt=0)] | None = None
    """AdamW's ε for this role."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Gradient norm limit for this role; a null that is written here leaves its gradients alone, whatever `training` says."""
    lr_scheduler: LrSchedule | None = None
    """Learning-rate shape for this role."""
    lr_warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Warm-up updates for this role."""
    lr_num_cycles: Annotated[float, Field(gt=0)] | None = None
    """Cosine waves for this role."""
    lr_power: Annotated[float, Field(gt=0)] | None = None
    """Polynomial exponent for this role."""
    min_lr_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """Learning-rate floor for this role."""

    @property
    def own_optimization(self) -> dict[str, Any]:
        """What this role says of its optimizer itself."""
        written = self.model_fields_set & Optimization.model_fields.keys()
        return {
            name: value
            for name in Optimization.model_fields
            if name in written and ((value := getattr(self, name)) is not None or name in NULL_IS_SAID)
        }

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the optimizer's keys that the role does not say itself: a null would say something else."""
        kept = handler(self)
        return {
            key: value
            for key, value in kept.items()
            if key not in Optimization.model_fields or key in self.own_optimization
        }


class MixedData(Section):
    """A further data set."""

    path: PathText
    """As `data.path`."""
    name: Name | None = None
    """As `data.name`."""
    repeats: Positive = 1
    """As `data.repeats`."""


class Data(Section):
    """Where latents and captions come from."""

    path: PathText
    """A folder of parquet files (or one file) in the T2V or the text-only schema; `distill data encode` makes one. Or a data set of the
    Hugging Face Hub, `owner/name` or `owner/name@REVISION`."""
    name: Name | None = None
    """What `data.weights` calls these rows; null: the last part of the path."""
    repeats: Positive = 1
    """How often an epoch goes through these rows; weighs data sets that are mixed."""
    mix: tuple[MixedData, ...] = ()
    """Further data sets, each with `path` and `repeats`; their rows are shuffled among those of `data.path`."""
    weights: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Shares of the samples drawn, by the names of the data sets, in any unit, e.g. `{clips: 0.7, portraits: 0.3}`. null: every row
    is drawn equally often, or as often as it is repeated."""
    on_bad_row: Literal["refuse", "skip"] = "refuse"
    """A row that is damaged, not finite or does not fit. refuse: end the run, naming file and row. skip: another row takes its place, and
    quarantine.jsonl in the run directory lists it."""
    num_latent_t: Positive | None = None
    """Latent frames to train on. null: all that the data have. Longer latents are cut at the front frames; shorter ones are an error."""
    num_frames: Positive | None = None
    """The same as a number of pixel frames, for captions without latents: F = (T - 1) · temporal stride + 1."""
    num_height: Positive | None = None
    """Pixel rows, for captions without latents."""
    num_width: Positive | None = None
    """Pixel columns, for captions without latents."""
    num_workers: Annotated[int, Field(ge=0, le=1024)] = 2
    """Threads that read ahead; 0 reads when a batch is needed. What is read does not depend on it."""


class Training(Optimization):
    """Length, batch, precision, and the optimizer's defaults."""

    max_train_steps: Annotated[int, Field(ge=1, le=10_000_000)]
    """Training steps: a step is one pass of the optimizers over an accumulated batch."""
    train_batch_size: Positive = 1
    """Samples per micro-step, of all processes together: each of N has an N-th of them, and trains what one would."""
    gradient_accumulation_steps: Positive = 1
    """Micro-steps per training step."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Key of all randomness of the run."""
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """A step with a loss or a gradient that is NaN or infinite changes no weight. stop: end the run, naming the rows of the data. skip:
    go on without the step. rollback: go back to the last checkpoint, and on with the rows that follow."""
    step_roles: Literal["together", "alone"] = "together"
    """together: all roles of a step at its end. alone: each after its last loss, so that its gradients are gone before another's come; the
    same numbers. Of a step that turns out broken after a role has stepped, that role keeps its update, which was sound; `stop` and
    `rollback` keep nothing of it. Gains nothing with `gradient_accumulation_steps`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Dtype of a forward pass. auto: bf16 on a GPU, fp32 on a CPU. Master weights, losses and optimizer state stay fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto: the GPU if there is one."""
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of a run on the CPU; null leaves it to torch. Small models are quickest with 1."""
    enable_gradient_checkpointing_type: Literal["full", "selective"] | None = None
    """full: recompute activations in backward instead of keeping them (less memory, about a third more time). selective: all but what
    attention gives, which is kept. Roles may say otherwise by `recompute`."""
    recompute_every: Positive = 1
    """Of so many blocks one after another one is recomputed: 2 keeps the activations of every second."""
    compile: bool = False
    """Compile each block of the models by torch.compile: minutes at the start, less time for each step, numbers equal up to rounding."""
    VSA_sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the cubes of tokens that video sparse attention leaves out; has effect where `method_config.attn_kind` is vsa."""
    VSA_decay_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """By how much the sparsity rises per interval, from 0 up to `VSA_sparsity`. null: it is there from the first step."""
    VSA_decay_interval_steps: Positive = 1
    """Training steps per rise: at step n the sparsity is min(VSA_sparsity, VSA_decay_rate · ⌊n / VSA_decay_interval_steps⌋)."""


class Checkpoint(Section):
    """When the run is saved, and where it goes on from."""

    interval: Positive | None = 500
    """Save every so many steps, and at the end; null saves at the end only, and by `every`."""
    every: Duration | None = None
    """Save also when so much time has passed since the last save, e.g. `90s`, `30min`, `2h`: after the step that is going on then. null:
    by steps alone. Which steps are saved changes nothing of what is trained."""
    mode: Literal["sync", "async"] = "sync"
    """sync: training waits until a checkpoint is on disk. async: it waits until the state has been copied to the host's memory, which needs
    room for it, and a thread writes the copy while training goes on."""
    keep_last: Positive = 3
    """Good checkpoints to keep; older ones are deleted after a newer one is published."""
    resume: Literal["auto", "changed", "never"] = "auto"
    """auto: go on from the newest good checkpoint of the run directory. changed: also with other settings, e.g. a lower learning rate.
    never: refuse a run directory that has a checkpoint."""
    grace: Annotated[float, Field(gt=0)] | None = None
    """Seconds that a run has to leave from a signal on, before it is killed, e.g. 80 under Slurm's `--signal=USR1@90`. A save is not
    begun that would take, as the last one, more than is left; trackers are not closed when they are over. null: it takes the time it
    takes."""
    accept: tuple[str, ...] = ()
    """What a run that goes on may find other than it was, by the names that its refusal gives, e.g. `data`, `torch`, `weights.ROLE`,
    `plugins.NAME`; `checkpoints` or `metrics`: that they are gone; `later`: that what was made after the checkpoint of `--resume` is set
    aside."""


class Tracking(Section):
    """Where figures go. metrics.jsonl in the run directory is always written."""

    trackers: tuple[Literal["wandb", "tensorboard"], ...] = ()
    """Further trackers."""
    log_interval: Positive = 10
    """Log every so many steps; figures are means over the interval."""
    project: str = "distill"
    """The W&B project."""
    entity: str | None = None
    """The W&B entity; null is the account's own."""
    run_name: str | None = None
    """The run's name in W&B; null is the run directory's."""
    wandb_mode: Literal["online", "offline", "disabled"] = "online"
    """Whether W&B uploads, writes to the run directory only, or does nothing."""


class Distributed(Section):
    """How a run spreads over processes: `distill run RUN.yaml --nproc-per-node N`, or torchrun, starts them."""

    shard: Positive | None = None
    """Processes that each model's weights, gradients and optimizer are spread over (FSDP2); 1 leaves them whole on each. null: as many as
    `replicate` leaves."""
    replicate: Positive | None = None
    """Groups of such processes, each with all weights between them. null: as many as `shard` leaves; one, if that is null too."""
    context: Positive = 1
    """Processes, one after another, that share the tokens of each of their clips (context parallelism), for clips that one cannot hold; a
    divisor of their number, of the models' attention heads and of a clip's tokens. Of families that can (docs/scale.md)."""
    timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a process waits for the others before the run ends and names the one that did not come."""


class RunConfig(Section):
    """A run.yaml."""

    recipe: Recipe
    """The plugins."""
    roles: Annotated[dict[str, RoleConfig], Field(min_length=1)]
    """The participants, by the method's names."""
    data: Data
    """The data."""
    training: Training
    """The training."""
    output_dir: PathText
    """The run directory: configuration, metrics, samples, checkpoints."""
    pipeline_config: dict[str, Any] = Field(default={})
    """Options of the model family (`distill plugins show FAMILY`)."""
    families: dict[str, dict[str, Any]] = Field(default={})
    """Options of the other families of the run, of roles that name their own `family`, by the family's name; `{}` for the defaults."""
    method_config: dict[str, Any] = Field(default={})
    """Options of the method (`distill plugins show METHOD`)."""
    metrics: dict[str, dict[str, Any]] = Field(default={})
    """Measures of sampled clips, by the metric's name, each with its options (`distill plugins show METRIC`); `{}` for the defaults."""
    rewards: dict[str, dict[str, Any]] = Field(default={})
    """Rewards that the method raises, by name, each with `weight`, `enough` and options (`distill plugins show REWARD`); most take none."""
    validation: Validation = Validation()
    """Samples during training."""
    comparison: Comparison | None = None
    """A table and a page at the end of the run; null makes none."""
    checkpoint: Checkpoint = Checkpoint()
    """Saving and resuming."""
    tracking: Tracking = Tracking()
    """Trackers."""
    distributed: Distributed = Distributed()
    """Processes."""

    def optimization(self, role: str) -> Optimization:
        """The optimizer settings of one role: its own where it has any, the run's otherwise."""
        shared = self.training.model_dump(include=set(Optimization.model_fields))
        return Optimization(**{**shared, **self.roles[role].own_optimization})

    def compiles(self, role: str) -> bool:
        """Whether the blocks of a role are to be compiled: as it says, or as the run does."""
        own = self.roles[role].compile
        return self.training.compile if own is None else own
