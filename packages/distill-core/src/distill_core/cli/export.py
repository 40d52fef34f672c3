"""``distill export RUN``: a trained role as a folder that the ecosystem's own pipeline loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from distill_core.cli import export_options as given
from distill_core.cli.timesteps import listed_timesteps
from distill_core.plugins.loading import CodeOf
from distill_core.terminal import answer, remark


def export(
    run: given.Run,
    output: given.Output,
    role: given.Role = None,
    step: given.Step = None,
    averaged: given.Averaged = True,
    dtype: given.Dtype = "float32",
    timesteps: given.Timesteps = None,
    base: given.Base = None,
    lora: given.Lora = False,
    as_json: given.AsJson = False,
) -> None:
    """Write a trained role as a pipeline folder, a LoRA merged into its weights; or that LoRA by itself.

    The folder's own scheduler samples it in its few steps; using it takes no distill.
    """
    import json

    from distill_core.cli.waiting import waiting
    from distill_core.errors import CheckpointError
    from distill_core.plugins.discovery import discover
    from distill_core.running.output_folder import check_output_folder

    grid = None if timesteps is None else listed_timesteps(timesteps, "distill export")
    check_output_folder(output, must_be_new=True)
    index = discover()
    with waiting("importing torch") as say:
        import torch

        from distill_core.finished.lora import write_lora
        from distill_core.finished.restore import restore_role
        from distill_core.running.preparation import Placement

        say(f"loading {run}")
        placement = Placement(torch.device("cpu"), torch.float32)
        restored = restore_role(run, index, role, step=step, averaged=averaged, placement=placement, base=base)
        if grid is None and not restored.told:
            raise CheckpointError(
                f"the method of {run} does not say how its result is sampled, and a pipeline of any number of steps would be wrong; say "
                "its timesteps by --timesteps"
            )
        say(f"writing {output}")
        stored = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
        sampling = restored.sampling if grid is None else replace(restored.sampling, steps=None, timesteps=grid)
        if lora:
            write_lora(restored, sampling, output, stored)
        else:
            restored.role.merge()
            with CodeOf(f"model {restored.role.family!r}", "exporting its role", passing=(OSError,)):
                restored.model.export(
                    restored.role.modules, restored.facts, sampling, restored.latent_shape, output, stored
                )
    if as_json:
        exported = {"output": str(output), "run": str(run), "role": restored.role.name, "step": restored.step}
        answer(json.dumps({**exported, "attn_kind": sampling.attn_kind}, ensure_ascii=False))
        return
    answer(f"{output}: {restored.role.name} of {run}, step {restored.step}")
    _warn_of(sampling.attn_kind, sampling.blocks is not None, output)


def _warn_of(attn_kind: str, by_blocks: bool, output: Path) -> None:
    """Say that a plain pipeline will not attend, or not sample, as the role was trained to."""
    if by_blocks:
        remark(
            f"warning: it makes clips block by block, which no pipeline of diffusers does: diffusers refuses the folder by the library "
            f"that model_index.json names; `distill sample {output}` samples it"
        )
    if attn_kind != "dense":
        remark(
            f"warning: it was trained with {attn_kind} attention, which diffusers does not have: a diffusers pipeline leaves "
            f"its gates out and attends densely; `distill sample {output}` attends as in training",
        )
