"""``distill export RUN``: a trained role as a folder that the ecosystem's own pipeline loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from distill_core.cli.timesteps import listed_timesteps
from distill_core.plugins.loading import CodeOf
from distill_core.terminal import answer, remark

BASE_HELP = "The folder or hub id that the role started from, if the run was moved and it is not where it was."


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="A run directory.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="The folder to make; must not exist, or be empty.")
    ],
    role: Annotated[
        str | None, typer.Option("--role", metavar="NAME", help="Default: the role that the method samples.")
    ] = None,
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", min=0, help="Which checkpoint. Default: the newest good one.")
    ] = None,
    averaged: Annotated[
        bool,
        typer.Option("--averaged/--trained", help="The role's EMA weights, if it kept an EMA, or those last trained."),
    ] = True,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option("--dtype", help="What the weights are stored in.")
    ] = "float32",
    timesteps: Annotated[
        str | None,
        typer.Option(
            "--timesteps", metavar="T,T,…", help="Sample at these instead of the method's own, e.g. 1000,750,500,250."
        ),
    ] = None,
    base: Annotated[str | None, typer.Option("--base", metavar="DIR", help=BASE_HELP)] = None,
    lora: Annotated[
        bool,
        typer.Option(
            "--lora", help="Write the LoRA that the role trained by itself, instead of a pipeline with it merged."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was exported as JSON.")] = False,
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
    _warn_of_attention(sampling.attn_kind, output)
    if sampling.blocks is not None:
        remark(
            f"warning: it makes clips block by block, which no pipeline of diffusers does: diffusers refuses the folder by the library "
            f"that model_index.json names; `distill sample {output}` samples it"
        )


def _warn_of_attention(attn_kind: str, output: Path) -> None:
    """Say that a plain pipeline will not attend as the role was trained to."""
    if attn_kind != "dense":
        remark(
            f"warning: it was trained with {attn_kind} attention, which diffusers does not have: a diffusers pipeline leaves "
            f"its gates out and attends densely; `distill sample {output}` attends as in training",
        )
