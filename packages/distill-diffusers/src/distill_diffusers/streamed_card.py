"""The README.md of an export that makes clips block by block: what it is, and why only distill samples it. Imports no torch."""

from __future__ import annotations

from distill_diffusers.export_record import STREAMED, ExportRecord
from distill_diffusers.facts import DiffusersFacts

_CARD = """---
{base_model}tags:
- distill
- {family}
---

# {title}

{summary}, trained with distill {version} to make clips **block by block**: {blocks} latent frames at once, in {steps} steps each, {seen}.

**No pipeline of diffusers samples it** (up to {diffusers}, which was looked at): its self-attention keeps keys and
values of the blocks before and sees none after. {pipeline} would let every frame see all, which is not what was trained; so
`model_index.json` names a library that does not exist, `{library}`, and diffusers refuses the folder by that name. distill
reads it:

```
pip install distill-core distill-model-{family}
distill sample . --prompt "a cat walks through tall grass" --output videos
```

`--num-frames` makes longer clips, `--window` and `--sink` bound what a block sees. The time to the first block and frames per
second are said at the end. `distill.json` records how the model was sampled in training.
"""


def streamed_card(base: DiffusersFacts, record: ExportRecord, family: str) -> str:
    """The card of an export that makes clips block by block."""
    folder, sampling = base.folder, record.sampling
    assert sampling is not None
    first = f" and the first {sampling.sink}" if sampling.sink else ""
    return _CARD.format(
        base_model="" if folder.hub_id is None else f"base_model: {folder.hub_id}\n",
        family=family,
        title=f"{base.path.name if folder.hub_id is None else folder.hub_id.split('/')[1]}, by blocks",
        summary=base.summary,
        version=record.distill_version,
        blocks=sampling.blocks,
        steps=sampling.steps,
        seen="on all before" if sampling.window is None else f"on the {sampling.window} latent frames before{first}",
        diffusers=record.diffusers_version,
        pipeline=folder.kind.pipeline,
        library=STREAMED,
    )
