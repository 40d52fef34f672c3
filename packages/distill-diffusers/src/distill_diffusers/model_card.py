"""The README.md of an export: what it is, and a snippet that samples it with nothing but diffusers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from distill_diffusers.export_record import ExportRecord
from distill_diffusers.facts import DiffusersFacts

_CARD = """---
library_name: diffusers
pipeline_tag: {task}
{base_model}tags:
- distill
- {family}
---

# {title}

{summary}, trained with distill {version}. It is sampled in **{steps} steps** with a guidance scale of {guidance:g} ({moves}).

It takes diffusers {oldest} or newer, and was made and checked with {diffusers}.{older}

```
pip install "diffusers>={oldest}" {packages}
```

```python
import torch
from diffusers import {vae}, {pipeline}
{imports}
folder = "."  # this folder, or its id on the Hub
vae = {vae}.from_pretrained(folder, subfolder="vae", dtype=torch.float32)
pipe = {pipeline}.from_pretrained(folder, vae=vae, dtype=torch.bfloat16).to("cuda")
torch.manual_seed(0)  # {seeding}
{output} = pipe(
    {prompt}"a cat walks through tall grass",
    height={height},
    width={width},{num_frames}
    num_inference_steps={steps},{guidance_argument}{arguments}
).{outputs}[0]
{saved}
```

{attention}{grid}`distill.json` records how the model was sampled in training.
"""

_VIDEOS = {
    "task": "text-to-video",
    "packages": "torch transformers accelerate ftfy imageio imageio-ffmpeg",
    "imports": "from diffusers.utils import export_to_video\n",
    "output": "frames",
    "outputs": "frames",
}
_PICTURES = {
    "task": "text-to-image",
    "packages": "torch transformers accelerate ftfy",
    "imports": "",
    "output": "picture",
    "outputs": "images",
}
_SAVED_VIDEO = 'export_to_video(frames, "video.mp4", fps={fps})'
_SAVED_PICTURE = 'picture.save("picture.png")'
_MOVES = {
    "sde": "each step predicts the clean sample and noises it anew for the next",
    "ode": "deterministic steps along the flow",
}
_ATTENTION = """It was trained with video sparse attention at a sparsity of {sparsity:g}, which diffusers does not have:
`from_pretrained` warns that it leaves out `to_gate_compress`, and the pipeline above attends densely, which is not what was trained.
`distill sample` (pip install distill-core distill-model-{family}) attends as in training.

"""

OLDEST = "0.40"
"""The oldest diffusers that exports are made for and tested with."""

_OLDER = {
    "sde": " diffusers 0.33 and older sample it deterministically instead, which is wrong, and say nothing.",
    "ode": "",
}

_SEEDING = {
    "sde": "the noise between steps comes from the global generator, whatever `generator` is passed",
    "ode": "or pass a generator",
}


@dataclass(frozen=True)
class PipelineCall:
    """What a card says of a family.

    Attributes:
        family: its name in distill, e.g. "wan".
        text_length: the padded text length that its pipeline takes where a call says none.
        fps: frames per second of its videos.
        arguments: further arguments of a call.
        guidance: what its pipeline calls the scale s of uncond + s · (cond - uncond).
        guidance_offset: what its pipeline's scale is short of s, 1 for the convention cond + w · (cond - uncond).
        needs_negative: whether its pipeline guides only where a negative prompt is given, be it empty.
        pictures: whether it makes pictures.
        named_prompt: whether its pipeline takes something else first, so that the prompt is named.
        guider: whether its pipeline has a part that guides, and is told no scale by a call.
    """

    family: str
    text_length: int
    fps: int
    arguments: Mapping[str, object] = field(default_factory=dict)
    guidance: str = "guidance_scale"
    guidance_offset: float = 0.0
    needs_negative: bool = False
    pictures: bool = False
    named_prompt: bool = False
    guider: bool = False


def model_card(base: DiffusersFacts, record: ExportRecord, call: PipelineCall) -> str:
    """The card of an export made from ``base``."""
    sampling, folder = record.sampling, base.folder
    assert sampling is not None
    assert record.latent_shape is not None
    num_frames, height, width = base.latent_space.pixels(record.latent_shape)
    grid = ""
    if sampling.timesteps is not None:
        listed = ", ".join(f"{timestep:.6g}" for timestep in sampling.timesteps)
        steps = f"`num_inference_steps` must stay {sampling.steps}"
        grid = (
            f"The scheduler's config makes the timesteps {listed} of that number of steps, so {steps}; a diffusers that makes others of "
            "it, which `pipe.scheduler.timesteps` shows afterwards, does not sample it as it was trained. "
        )
    length = {} if record.text_length == call.text_length else {"max_sequence_length": record.text_length}
    says_negative = sampling.guided and (call.needs_negative or sampling.negative_prompt)
    negative = {"negative_prompt": sampling.negative_prompt} if says_negative else {}
    second = (
        {} if sampling.low_noise_guidance_scale is None else {"guidance_scale_2": sampling.low_noise_guidance_scale}
    )
    arguments = {**second, **negative, **length, **call.arguments}
    scale = f"\n    {call.guidance}={sampling.guidance_scale - call.guidance_offset:g},"
    frames = "" if call.pictures else f"\n    num_frames={num_frames},"
    return _CARD.format(
        **(_PICTURES if call.pictures else _VIDEOS),
        base_model="" if folder.hub_id is None else f"base_model: {folder.hub_id}\n",
        family=call.family,
        title=f"{base.path.name if folder.hub_id is None else folder.hub_id.split('/')[1]}, {sampling.steps} steps",
        summary=base.summary,
        version=record.distill_version,
        oldest=OLDEST,
        diffusers=record.diffusers_version,
        older=_OLDER[sampling.sampler],
        vae=folder.parts["vae"].class_name,
        pipeline=folder.pipeline,
        steps=sampling.steps,
        height=height,
        width=width,
        num_frames=frames,
        prompt="prompt=" if call.named_prompt else "",
        guidance_argument="" if call.guider else scale,
        guidance=sampling.guidance_scale,
        moves=_MOVES[sampling.sampler],
        seeding=_SEEDING[sampling.sampler],
        arguments="".join(f"\n    {name}={value!r}," for name, value in arguments.items()),
        saved=_SAVED_PICTURE if call.pictures else _SAVED_VIDEO.format(fps=call.fps),
        attention="" if sampling.vsa is None else _ATTENTION.format(sparsity=sampling.vsa.sparsity, family=call.family),
        grid=grid,
    )
