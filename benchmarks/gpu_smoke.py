"""Every path that a role's memory and kernels may take, once, on a Wan of published width: `benchmarks/gpu.py --only smoke`.

Each path prints one JSON line, and adds it to `smoke.jsonl` of the folder as it is known: a path whose line is there is not run again, one
that fails says why and stops no other. Beside each stand the seconds of a warm pass, forward and backward, and its peak.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu_world import SMOKE, make_pipeline
from torch import Tensor, nn

from distill_core.config.recomputation import Recomputation
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.protocols import Condition, ModelRequest, Prompt
from distill_core.training.averages import WeightAverage
from distill_core.training.compiled import compile_blocks, made
from distill_core.training.lora import LoraWeights, Rank, linear_layers
from distill_core.training.offload import Offload
from distill_core.training.quantized import quantize, why_not
from distill_core.training.roles import RoleHandle
from distill_core.training.transfers import transfers_to
from distill_diffusers.kernels import DiffusersKernels
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel

Figures = dict[str, object]


@dataclass(frozen=True)
class Pass:
    """A prediction without a graph, one with, and the gradients of a LoRA.

    Attributes:
        quiet: the prediction without a graph.
        gradients: all of them, in one row.
        seconds: of the second forward and backward pass.
        peak: GiB at most, weights included.
    """

    quiet: Tensor
    gradients: Tensor
    seconds: float
    peak: float


class Smoke:
    """A transformer in a folder, made once a path is tried, under each path, against the plain one."""

    def __init__(self, folder: Path, device: torch.device, frames: int, height: int, width: int) -> None:
        self.folder, self.device, self.clip = folder, device, (frames, height, width)

    @cached_property
    def model(self) -> WanModel:
        """Eight blocks of the 1.3B's width."""
        if not self.folder.exists():
            make_pipeline(self.folder, SMOKE, self.device)
            torch.cuda.empty_cache()
        return WanModel(inspect(str(self.folder)), WanOptions(), self.device, torch.bfloat16)

    @cached_property
    def asked(self) -> tuple[Tensor, Tensor, Condition]:
        """A noisy clip, its timestep, and what it shows."""
        frames, height, width = self.clip
        generator = torch.Generator().manual_seed(0)
        shape = (1, (frames - 1) // 4 + 1, self.model.facts.latent_space.channels, height // 8, width // 8)
        noisy = torch.randn(shape, generator=generator).to(self.device)
        text = self.model.adapter.encode_condition([Prompt("a cat on a chair")])
        return noisy, torch.tensor([600.0], dtype=torch.float64), text

    def role(
        self,
        said: Recomputation | None = None,
        *,
        change: Callable[[nn.ModuleDict], Offload | None] = lambda _: None,
        on_host: bool = False,
    ) -> RoleHandle:
        """A LoRA, the same each time, on freshly loaded weights."""
        request = ModelRequest(self.model.facts, False, torch.bfloat16, gradient_checkpointing=True, on_host=on_host)
        base = nn.ModuleDict(self.model.load_modules(request))
        offload = change(base)
        base.to(self.device)
        modules = dict(base.items())
        chosen = [name for name in linear_layers(modules) if ".attn" in name]
        lora = LoraWeights(modules, dict.fromkeys(chosen, Rank(16, 1.0)))
        lora.initialize(0, "smoke", "gaussian")
        for name in chosen:
            nn.init.normal_(lora.pair(name).lora_B.weight, std=0.02, generator=self._generator())
        return RoleHandle(
            "smoke", base, self.model.adapter, trainable=True, lora=lora, recomputation=said, offload=offload
        )

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0)

    def tried(self, role: RoleHandle) -> Pass:
        """Two passes of a role, of which the second is timed."""
        with torch.no_grad():
            quiet = role.predict_velocity(*self.asked)
        role.rest()
        gradients, seconds = torch.empty(0), 0.0
        for _ in range(2):
            role.own.zero_grad(set_to_none=True)
            self._reset()
            started = time.monotonic()
            role.predict_velocity(*self.asked).square().mean().backward()
            role.rest()
            self._wait()
            seconds = time.monotonic() - started
            rows = [p.grad.flatten() for p in role.trained_parameters().values() if p.grad is not None]
            gradients = torch.cat(rows)
        return Pass(quiet, gradients, seconds, self._peak())

    def _reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _peak(self) -> float:
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0

    @cached_property
    def plain(self) -> Pass:
        """Weights that stay, activations that are kept, nothing compiled."""
        return self.tried(self.role())

    def against(self, found: Pass) -> Figures:
        """A path beside the plain one."""
        return {
            "prediction_equal": found.quiet.equal(self.plain.quiet),
            "prediction_error": _error(found.quiet, self.plain.quiet),
            "gradient_error": _error(found.gradients, self.plain.gradients),
            "seconds": round(found.seconds, 4),
            "plain_seconds": round(self.plain.seconds, 4),
            "peak_gib": round(found.peak, 3),
            "plain_peak_gib": round(self.plain.peak, 3),
        }

    # The paths

    def paths(self) -> Iterator[tuple[str, Callable[[], Figures]]]:
        """Each by its name."""
        yield "plain, twice", lambda: self.against(self.tried(self.role()))
        for name, said in (
            ("recompute: full", Recomputation()),
            ("recompute: selective", Recomputation(attention_kept=True)),
            ("recompute: full, every 2", Recomputation(every=2)),
        ):
            yield name, lambda said=said: self.against(self.tried(self.role(said)))
        for name, streamed in (("placement: stream", True), ("placement: cpu", False)):
            yield name, lambda streamed=streamed: self.offloaded(streamed=streamed)
        for kind in ("int8", "fp8", "nf4"):
            yield f"weights: {kind}", lambda kind=kind: self.fewer(kind)
        yield "ema.placement: cpu", self.averaged
        for kernel in (
            "_native_math",
            "_native_flash",
            "_native_cudnn",
            "_native_efficient",
            "flash",
            "sage",
            "xformers",
        ):
            yield f"attention: {kernel}", lambda kernel=kernel: self.attended(kernel)
        for said in (None, Recomputation()):
            yield f"compile, recompute: {'none' if said is None else 'full'}", lambda said=said: self.compiled(said)

    def offloaded(self, *, streamed: bool) -> Figures:
        """Weights in host memory."""

        def leave(base: nn.ModuleDict) -> Offload:
            return Offload(dict(base.items()), transfers_to(self.device), streamed=streamed)

        return self.against(self.tried(self.role(Recomputation(), change=leave, on_host=True)))

    def fewer(self, kind: str) -> Figures:
        """Weights in fewer bits."""
        refused = why_not(kind, self.device, torch.bfloat16)
        if refused is not None:
            return {"refused": refused}

        def shrink(base: nn.ModuleDict) -> None:
            for module in base.values():
                quantize(module, kind)

        return self.against(self.tried(self.role(change=shrink)))

    def attended(self, kernel: str) -> Figures:
        """Attention by one of diffusers' backends, recomputed."""
        kernels = DiffusersKernels()
        kernels.try_out(kernel, self.device, torch.bfloat16)
        role = self.role(Recomputation())
        role.kernel = partial(kernels.attending, kernel)
        return self.against(self.tried(role))

    def averaged(self) -> Figures:
        """An average in host memory, and one on the device, after two updates."""
        weights = {"w": torch.randn(1000, 1000, generator=self._generator(), device=self.device)}
        averages = [WeightAverage(weights, 0.9, place=place) for place in (None, torch.device("cpu"))]
        for step in (1, 2):
            for average in averages:
                average.update({"w": weights["w"] * step}, step, torch.zeros((), device=self.device))
        here, there = (average.shadow["w"].to(self.device) for average in averages)
        return {"equal": here.equal(there)}

    def compiled(self, said: Recomputation | None) -> Figures:
        """Blocks by torch.compile, and how many were compiled after the first passes."""

        def compile_them(base: nn.ModuleDict) -> None:
            compile_blocks(base.values())

        role = self.role(said, change=compile_them)
        before, started = made(), time.monotonic()
        self.tried(role)
        warm, took = made(), time.monotonic() - started
        found = self.tried(role)
        return {
            **self.against(found),
            "compiled": warm - before,
            "compiled_after_warm_up": made() - warm,
            "first_passes_seconds": round(took, 1),
        }


def _error(found: Tensor, expected: Tensor) -> float:
    """‖found - expected‖ / ‖expected‖."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def run(smoke: Smoke, folder: Path, seconds: float, only: Sequence[str]) -> None:
    """Each path that is asked for and has no line yet, as long as there is time."""
    folder.mkdir(parents=True, exist_ok=True)
    place, begun = folder / "smoke.jsonl", time.monotonic()
    known = {json.loads(line)["path"] for line in place.read_text().splitlines()} if place.exists() else set()
    for name, path in smoke.paths():
        if name in known or not any(part in f"smoke: {name}" for part in only):
            continue
        if time.monotonic() - begun > seconds:
            print(json.dumps({"path": name, "left_out": f"after {seconds:g} s"}), flush=True)
            continue
        gc.collect()  # the last path's role, which its own hooks keep
        started = time.monotonic()
        figures: Figures
        try:
            with plugin_border():  # kernels of others, on a machine that nobody has seen
                figures = path()
        except RefusedError as refusal:
            figures = {"failed": refusal.reason[:400]}
        line: dict[str, Any] = {"path": name, **figures, "wall": round(time.monotonic() - started, 1)}
        print(json.dumps(line), flush=True)
        with place.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
