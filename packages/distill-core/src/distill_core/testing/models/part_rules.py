"""Rules for what a prediction can be asked for beyond the velocity; each is tried only where the spec declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from distill_core.errors import StreamError
from distill_core.protocols.prediction import Ask, Prediction, Tangents
from distill_core.testing.models.subject import Subject, Tried

STEP = 2e-4
"""σ by which a derivative is looked for: a time embedding turns by up to 1000 rad per unit; rounding is well below :data:`SLACK`."""
SLACK = 0.05
"""The share by which finite differences may miss a derivative."""


def check_parts(subject: Subject, tried: Tried) -> None:
    """Every part that the spec declares."""
    for name, check in PART_RULES.items():
        if name in subject.spec.operations - subject.facts.lacks:
            with tried.rule(name):
                check(subject, tried)


def _features(subject: Subject, tried: Tried) -> None:
    layers, facts = (0, subject.facts.layers - 1), subject.facts
    answer = subject.predicted(Ask(features=layers))
    frames, _, height, width = subject.shape
    grid = [size // patch for size, patch in zip((frames, height, width), facts.patch, strict=True)]
    expected = [2, grid[0], facts.feature_width, *grid[1:]]
    shapes = [list(each.shape) for each in answer.features]
    tried.expect(
        shapes == [expected] * 2 and all(each.dtype == torch.float32 for each in answer.features),
        "features",
        f"features of layers {layers} are {shapes}; give float32 [B, T', D, H', W'] = {expected} by the facts, one a layer",
    )
    tried.expect_close(
        "features", "the velocity beside features, and alone", answer.velocity, subject.velocity, subject.close
    )
    seen = subject.noisy.clone().requires_grad_()
    condition = subject.batch.condition_of(subject.role)
    kept = subject.role.predict(seen, subject.timestep, condition, Ask(features=layers), input_gradients=True)
    tried.expect(
        all(each.requires_grad for each in kept.features),
        "features",
        "features have no graph; do not detach what a hook catches",
    )


def _until(subject: Subject, tried: Tried) -> None:
    for share in (0.0, 0.5, 1.0):
        answer = subject.predicted(Ask(until=share * subject.timestep)).velocity
        tried.expect(
            answer.shape == subject.noisy.shape and answer.dtype == torch.float32 and bool(answer.isfinite().all()),
            "until",
            f"the mean velocity from t to {share} t is {answer.dtype} {list(answer.shape)}, or not finite",
        )


def _along(subject: Subject, tried: Tried) -> None:
    direction = torch.randn(subject.noisy.shape, generator=torch.Generator().manual_seed(4))
    rate = torch.ones_like(subject.timestep)
    answer = subject.predicted(Ask(along=Tangents(direction, rate)))
    if answer.derivative is None:
        tried.findings.fault("along", "asked for a derivative, a prediction has none; fill Prediction.derivative")
        return
    condition = subject.batch.condition_of(subject.role)
    ahead, behind = (
        subject.role.predict_velocity(
            subject.noisy + sign * STEP * direction, subject.timestep + sign * 1000.0 * STEP * rate, condition
        )
        for sign in (1.0, -1.0)
    )
    expected = (ahead - behind) / (2.0 * STEP)
    gap = float((answer.derivative - expected).norm() / expected.norm())
    tried.expect(
        gap < SLACK,
        "along",
        f"the derivative misses finite differences by {100 * gap:.0f} %; it is per unit of σ, along both tangents at once",
    )
    tried.expect(not answer.derivative.requires_grad, "along", "the derivative has a graph; it is a target, detach it")


def _frame_timesteps(subject: Subject, tried: Tried) -> None:
    by_frame = _by_frame(subject)
    condition = subject.batch.condition_of(subject.role)
    same = subject.role.predict_velocity(subject.noisy, by_frame, condition)
    what = "timesteps [B, T] that agree within each sample, and [B]"
    tried.expect_close("frame_timesteps", what, same, subject.velocity, subject.close)
    if subject.shape[0] > 1:
        by_frame[:, -1] += 30.0  # on the same side of a boundary between experts
        tried.expect(
            not torch.equal(subject.role.predict_velocity(subject.noisy, by_frame, condition), same),
            "frame_timesteps",
            "the last frame's own timestep changes nothing; give each token its frame's",
        )


def _blocks(subject: Subject, tried: Tried) -> None:
    size = _block(subject)
    changed = _disturbed(subject.noisy, slice(-size, None))
    before, after = (_asked(subject, each, Ask(blocks=size)).velocity for each in (subject.noisy, changed))
    what = f"blocks of {size} before the last, when the last one's latents change: no block sees a later one"
    tried.expect_close("blocks", what, after[:, :-size], before[:, :-size], subject.close)
    tried.expect(
        not torch.equal(after[:, -size:], before[:, -size:]),
        "blocks",
        "a block's own latents change nothing in its prediction",
    )


def _clean(subject: Subject, tried: Tried) -> None:
    size, clean = _block(subject), subject.batch.latents
    first = slice(None, size)
    plain = _asked(subject, subject.noisy, Ask(blocks=size, clean=clean)).velocity
    noisier = _asked(subject, _disturbed(subject.noisy, first), Ask(blocks=size, clean=clean)).velocity
    what = "later blocks, when the first one's noisy latents change: they see it clean"
    tried.expect_close("clean", what, noisier[:, size:], plain[:, size:], subject.close)
    other = _asked(subject, subject.noisy, Ask(blocks=size, clean=_disturbed(clean, first))).velocity
    tried.expect(
        not torch.equal(other[:, size:], plain[:, size:]),
        "clean",
        "the first block's clean latents change nothing in later blocks",
    )
    tried.expect_close(
        "clean",
        "the first block, when its own clean latents change: it sees none of them",
        other[:, first],
        plain[:, first],
        subject.close,
    )


def _stream(subject: Subject, tried: Tried) -> None:
    size, frames, rule = _block(subject), subject.shape[0], "stream"
    stream, parts = None, []
    for start in range(0, frames, size):
        answer = _asked(subject, subject.noisy[:, start : start + size], Ask(stream=stream, store=True))
        if answer.stream is None:
            tried.findings.fault(rule, "told to store, a prediction gives no stream; fill Prediction.stream")
            return
        tried.expect(
            stream is None or stream.frames == start,
            rule,
            "a prediction changes the stream that it was given; make a new one",
        )
        stream = answer.stream
        tried.expect(
            stream.frames == start + size and len(stream) == 2,
            rule,
            f"after {start + size} frames of 2 samples the stream says {stream.frames} of {len(stream)}",
        )
        parts.append(answer.velocity)
    if "blocks" in subject.spec.operations:
        whole = _asked(subject, subject.noisy, Ask(blocks=size)).velocity
        what = f"blocks of {size} one after another on a stream, and all at once"
        tried.expect_close(rule, what, torch.cat(parts, dim=1), whole, 10.0 * subject.close)
    try:
        condition = subject.batch.condition_of(subject.role).select(torch.tensor([0]))
        subject.role.predict(subject.noisy[:1, :size], subject.timestep[:1], condition, Ask(stream=stream))
    except StreamError:
        return
    tried.findings.fault(rule, "a stream of two samples is taken for a batch of one; raise StreamError")


def _block(subject: Subject) -> int:
    """Latent frames of the smallest block; the clips have two of them at least."""
    size = subject.facts.patch[0]
    assert subject.shape[0] >= 2 * size, (
        "the clips are too short to be cut into blocks; give check_model longer `frames`"
    )
    return size


def _by_frame(subject: Subject) -> Tensor:
    return subject.timestep[:, None].repeat(1, subject.shape[0])


def _asked(subject: Subject, noisy: Tensor, ask: Ask) -> Prediction:
    return subject.role.predict(noisy, subject.timestep, subject.batch.condition_of(subject.role), ask)


def _disturbed(latents: Tensor, frames: slice) -> Tensor:
    """The latents, with others in some frames."""
    changed = latents.clone()
    changed[:, frames] += 1.0
    return changed


PART_RULES: Mapping[str, Callable[[Subject, Tried], None]] = {
    "frame_timesteps": _frame_timesteps,
    "features": _features,
    "until": _until,
    "along": _along,
    "blocks": _blocks,
    "clean": _clean,
    "stream": _stream,
}
"""The rule of each part, by its name."""
