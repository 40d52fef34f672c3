"""Finetuning and DMD2 of a Wan transformer as a loop that a person writes by hand: torch and diffusers, nothing of distill.

The same mathematics and the same keys of randomness as distill's, so that its weights come out bitwise equal: what a step of distill costs
beyond a step of this is what distill costs. It has no checkpoints, metrics, guards, roles or checks. B T C H W as everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Sample:
    """One row: its raw latent, and its caption's embeddings."""

    latent_CTHW: Tensor | None
    text_LD: Tensor


@dataclass(frozen=True)
class Settings:
    """Of both methods; defaults are those of distill where it has any."""

    learning_rate: float
    seed: int
    text_length: int
    flow_shift: float
    latent_shape: tuple[int, int, int, int]
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    steps: tuple[float, ...] = (1000.0, 750.0, 500.0, 250.0)
    update_interval: int = 5
    guidance: float = 4.5
    clamp: tuple[float, float] = (20.0, 980.0)


def key_bits(*parts: object) -> int:
    digest = hashlib.blake2b("/".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Draws:
    """The random numbers of one step."""

    def __init__(self, seed: int, step: int, size: int, device: torch.device) -> None:
        self.key = (seed, step, 0)
        self.size = size
        self.device = device
        self.generator = torch.Generator(device)

    def normal(self, name: str, shape: Sequence[int]) -> Tensor:
        noise = torch.empty((self.size, *shape), device=self.device)
        for row in range(self.size):
            noise[row].normal_(generator=self.generator.manual_seed(key_bits(*self.key, row, name)))
        return noise

    def fraction(self, row: int | str, name: str) -> float:
        return (key_bits(*self.key, row, name) >> 10) * 2.0**-53

    def uniform(self, name: str) -> Tensor:
        return torch.tensor([self.fraction(row, name) for row in range(self.size)], dtype=torch.float64)


class Trained:
    """A transformer and its AdamW."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.model = WanTransformer3DModel.from_pretrained(folder, subfolder="transformer").train()
        self.parameters = list(self.model.parameters())
        self.max_grad_norm = settings.max_grad_norm
        rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        self.optimizer = torch.optim.AdamW(self.parameters, **rates, fused=True)

    def update(self) -> None:
        """Clip, step, clear."""
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def velocity(model: WanTransformer3DModel, x_BTCHW: Tensor, t_B: Tensor, text_BLD: Tensor) -> Tensor:
    v_BCTHW: Tensor = model(x_BTCHW.transpose(1, 2), t_B.to(x_BTCHW), text_BLD, return_dict=False)[0]
    return v_BCTHW.transpose(1, 2)


def sigma(t_B: Tensor, like: Tensor) -> Tensor:
    """σ = t / 1000, to multiply."""
    return (t_B / 1000.0).to(like).view(-1, 1, 1, 1, 1)


def noised(x0: Tensor, noise: Tensor, s: Tensor) -> Tensor:
    """(1 - σ) x0 + σ ε."""
    return (1.0 - s) * x0 + s * noise


class Loop:
    """What both methods share: rows to batches, and the flow shift."""

    def __init__(self, folder: Path, batches: Iterator[list[Sample]], settings: Settings) -> None:
        self.settings = settings
        self.batches = batches
        config = json.loads((folder / "vae" / "config.json").read_text())
        statistics = torch.tensor([config["latents_mean"], config["latents_std"]])
        self.mean_C11, self.std_C11 = statistics.view(2, -1, 1, 1)

    def shifted(self, t_B: Tensor) -> Tensor:
        u, s = t_B / 1000.0, self.settings.flow_shift
        return 1000.0 * s * u / (1.0 + (s - 1.0) * u)

    def padded(self, texts: Sequence[Tensor]) -> Tensor:
        return torch.stack([pad(each, (0, 0, 0, self.settings.text_length - len(each))) for each in texts])

    def texts(self, rows: Sequence[Sample]) -> Tensor:
        return self.padded([row.text_LD for row in rows])


class Finetune(Loop):
    """Flow matching."""

    def __init__(self, folder: Path, batches: Iterator[list[Sample]], settings: Settings) -> None:
        super().__init__(folder, batches, settings)
        self.student = Trained(folder, settings)

    def step(self, number: int) -> None:
        """One training step."""
        rows = next(self.batches)
        raw_BTCHW = torch.stack([row.latent_CTHW for row in rows]).transpose(1, 2)
        x0, text = (raw_BTCHW - self.mean_C11) / self.std_C11, self.texts(rows)
        draws = Draws(self.settings.seed, number, len(x0), x0.device)
        t_B = self.shifted(1000.0 * draws.uniform("timestep"))
        noise = draws.normal("noise", x0.shape[1:])
        predicted = velocity(self.student.model, noised(x0, noise, sigma(t_B, x0)), t_B, text)
        torch.mean((predicted - (noise - x0)) ** 2).backward()
        self.student.update()


class Dmd2(Loop):
    """DMD2, simulated rollouts; the critic is trained on the student's sample where there is one."""

    def __init__(
        self, folders: dict[str, Path], batches: Iterator[list[Sample]], settings: Settings, negative_LD: Tensor
    ):
        super().__init__(folders["student"], batches, settings)
        self.student, self.critic = (Trained(folders[role], settings) for role in ("student", "critic"))
        self.teacher = WanTransformer3DModel.from_pretrained(
            folders["teacher"], subfolder="transformer"
        ).requires_grad_(False)
        self.negative_1LD = self.padded([negative_LD])

    def sample(self, draws: Draws, name: str, shape: Sequence[int], text: Tensor, *, graph: bool) -> Tensor:
        """The student's prediction at a drawn step."""
        steps, model = self.settings.steps, self.student.model
        drawn = int(draws.fraction("shared", f"{name}/exit") * len(steps))
        x = draws.normal(f"{name}/start", shape)
        for index in range(drawn + 1):
            t_B = torch.full((len(x),), steps[index], dtype=torch.float64)
            with torch.set_grad_enabled(graph and index == drawn):
                x0 = x - sigma(t_B, x) * velocity(model, x, t_B, text)
                if index < drawn:
                    next_B = torch.full((len(x),), steps[index + 1], dtype=torch.float64)
                    x = noised(x0, draws.normal(f"{name}/renoise/{index}", shape), sigma(next_B, x))
        return x0

    def noisy(self, draws: Draws, name: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x noised for the scores, its timestep, its σ and its noise."""
        t_B = self.shifted(1000.0 * draws.uniform(f"{name}/score_timestep")).clamp(*self.settings.clamp)
        s, noise = sigma(t_B, x), draws.normal(f"{name}/score", x.shape[1:])
        return noised(x, noise, s), t_B, s, noise

    def step(self, number: int) -> None:
        """One training step."""
        text, shape = self.texts(next(self.batches)), self.settings.latent_shape
        draws = Draws(self.settings.seed, number, len(text), text.device)
        due = number % self.settings.update_interval == 0
        x = self.sample(draws, "student" if due else "critic", shape, text, graph=due)
        if due:
            with torch.no_grad():
                noisy, t_B, s, _ = self.noisy(draws, "student", x)
                negative = self.negative_1LD.expand(len(x), -1, -1)
                cond, uncond = (noisy - s * velocity(self.teacher, noisy, t_B, each) for each in (text, negative))
                fake = noisy - s * velocity(self.critic.model, noisy, t_B, text)
                real = uncond + self.settings.guidance * (cond - uncond)
                gradient = (fake - real) / (x - real).abs().mean(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1e-6)
                target = x - gradient
            (0.5 * torch.mean((x - target) ** 2)).backward()
            x = x.detach()
        noisy, t_B, _, noise = self.noisy(draws, "critic", x)
        torch.mean((velocity(self.critic.model, noisy, t_B, text) - (noise - x)) ** 2).backward()
        if due:
            self.student.update()
        self.critic.update()
