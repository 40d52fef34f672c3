"""The README.md of an export: what it is, and a snippet that samples it with nothing but diffusers."""

from __future__ import annotations

from distill_diffusers.export_record import ExportRecord
from distill_model_wan.folder import TEXT_LENGTH, WanFolder

_CARD = """---
library_name: diffusers
pipeline_tag: text-to-video
{base_model}tags:
- distill
- wan
---

# {title}

{summary}, trained with distill {version}. It is sampled in **{steps} steps** with a guidance scale of {guidance:g} ({moves}).

```python
import torch
from diffusers import AutoencoderKLWan, WanPipeline
from diffusers.utils import export_to_video

folder = "."  # this folder, or its id on the Hub
vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", dtype=torch.float32)
pipe = WanPipeline.from_pretrained(folder, vae=vae, dtype=torch.bfloat16).to("cuda")
torch.manual_seed(0)  # {seeding}
frames = pipe(
    "a cat walks through tall grass",
    height={height},
    width={width},
    num_frames={num_frames},
    num_inference_steps={steps},
    guidance_scale={guidance:g},{text_length}
).frames[0]
export_to_video(frames, "video.mp4", fps=16)
```

{attention}{grid}`distill.json` records how the model was sampled in training.
"""

_MOVES = {
    "sde": "each step predicts the clean video and noises it anew for the next",
    "ode": "deterministic steps along the flow",
}
_ATTENTION = """It was trained with video sparse attention at a sparsity of {sparsity:g}, which diffusers does not have:
`from_pretrained` warns that it leaves out `to_gate_compress`, and the pipeline above attends densely, which is not what was trained.
`distill sample` (pip install distill-core distill-model-wan) attends as in training.

"""

_SEEDING = {
    "sde": "the noise between steps comes from the global generator, whatever `generator` is passed",
    "ode": "or pass a generator",
}


def model_card(base: WanFolder, record: ExportRecord) -> str:
    """The card of an export made from ``base``."""
    sampling = record.sampling
    assert sampling is not None
    hub_id = base.folder.hub_id
    assert record.latent_shape is not None
    num_frames, height, width = base.latent_space.pixels(record.latent_shape)
    grid = ""
    if sampling.timesteps is not None:
        listed = ", ".join(f"{timestep:.6g}" for timestep in sampling.timesteps)
        steps = f"`num_inference_steps` must stay {sampling.steps}"
        grid = f"The scheduler's config makes the timesteps {listed} of that number of steps, so {steps}. "
    text_length = "" if record.text_length == TEXT_LENGTH else f"\n    max_sequence_length={record.text_length},"
    return _CARD.format(
        base_model="" if hub_id is None else f"base_model: {hub_id}\n",
        title=f"{base.path.name if hub_id is None else hub_id.split('/')[1]}, {sampling.steps} steps",
        summary=base.summary,
        version=record.distill_version,
        steps=sampling.steps,
        height=height,
        width=width,
        num_frames=num_frames,
        guidance=sampling.guidance_scale,
        moves=_MOVES[sampling.sampler],
        seeding=_SEEDING[sampling.sampler],
        text_length=text_length,
        attention="" if sampling.vsa is None else _ATTENTION.format(sparsity=sampling.vsa.sparsity),
        grid=grid,
    )
