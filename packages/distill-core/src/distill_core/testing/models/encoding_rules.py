"""Rules for what data are made of: latents of clips, captions, and the conditions that are made of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from distill_core.protocols.adapter import (
    DropsCondition,
    EncodesCondition,
    HasUnconditional,
    MixesUnconditional,
)
from distill_core.protocols.condition import Condition
from distill_core.testing.models.subject import CAPTIONS, Subject, Tried


def check_encoding(subject: Subject, tried: Tried) -> None:
    """Clips and captions as data hold them."""
    with tried.rule("encode_video"):
        _check_latents(subject, tried)
    with tried.rule("encode_caption"):
        _check_captions(subject, tried)
    with tried.rule("count_tokens"):
        _check_tokens(subject, tried)


def _check_latents(subject: Subject, tried: Tried) -> None:
    rule, latent = "encode_video", subject.latents[0]
    misfit = subject.facts.misfit(tuple(latent.shape))
    tried.expect(
        misfit is None, rule, f"its own latents [C, T, H, W] = {list(latent.shape)} do not fit its facts: {misfit}"
    )
    tried.expect(
        latent.dtype == torch.float32 and latent.device.type == "cpu" and not latent.requires_grad,
        rule,
        f"a latent is {latent.dtype} on {latent.device}; give float32 on the CPU, without a graph",
    )
    tried.expect(
        bool(latent.isfinite().all()) and torch.equal(subject.model.encode_video(subject.clips[0]), latent),
        rule,
        "one clip is encoded to other numbers the second time, or to numbers that are not finite; take the posterior's mode, draw nothing",
    )


def _check_captions(subject: Subject, tried: Tried) -> None:
    rule, facts = "encode_caption", subject.facts
    for text in subject.texts:
        tried.expect(
            text.ndim == 2 and text.shape[1] == facts.text_width and len(text) <= facts.text_length,
            rule,
            f"a caption is {list(text.shape)}, the facts say [up to {facts.text_length}, {facts.text_width}]",
        )
        tried.expect(
            text.dtype == torch.float32 and text.device.type == "cpu" and not text.requires_grad,
            rule,
            f"a caption is {text.dtype} on {text.device}; give float32 on the CPU, without a graph",
        )
    (alone,) = subject.model.encode_caption(CAPTIONS[1:])
    tried.expect_close(
        rule,
        "a caption encoded alone and beside a longer one; mask the padding, or encode one by one",
        alone,
        subject.texts[1],
        1e-5,
    )


def _check_tokens(subject: Subject, tried: Tried) -> None:
    counted, lengths = list(subject.model.count_tokens(CAPTIONS)), [len(text) for text in subject.texts]
    # Where padding is attended and is not zero, an encoded caption is as long as the text length, whatever it says.
    padded = subject.facts.text_length
    tried.expect(
        all(count == length or count < length == padded for count, length in zip(counted, lengths, strict=True)),
        "count_tokens",
        f"captions that are not cut are counted as {counted} tokens and encoded as {lengths}; count as the encoder does",
    )


def check_conditions(subject: Subject, tried: Tried) -> None:
    """Conditions of rows and of prompts; what makes them unconditional; what picks some of them."""
    with tried.rule("prepare_condition"):
        _expect_size(tried, "prepare_condition", subject.batch.condition_of(subject.role), 2)
        bare = subject.batch_of(subject.without_latent()).condition_of(subject.role)
        expect_alike(subject, tried, "prepare_condition", "rows that are captions alone, and rows with latents", bare)
    with tried.rule("select"):
        turned = subject.batch.condition_of(subject.role).select(torch.tensor([1, 0, 0]))
        tried.expect(
            len(turned) == 3,
            "select",
            f"of two conditions, select([1, 0, 0]) gives {len(turned)}; select picks the conditions at its indices, one may come twice",
        )
        back = turned.select(torch.tensor([1, 0]))
        expect_alike(subject, tried, "select", "conditions that select turned round, and back", back)
    adapter = subject.model.adapter
    if isinstance(adapter, EncodesCondition):
        with tried.rule("encode_condition"):
            encoded = adapter.encode_condition(subject.prompts)
            _expect_size(tried, "encode_condition", encoded, 2)
            expect_alike(subject, tried, "encode_condition", "prompts, and rows whose captions say the same", encoded)
    if isinstance(adapter, HasUnconditional):
        with tried.rule("unconditional"):
            _check_unconditional(subject, adapter, tried)
    if isinstance(adapter, MixesUnconditional):
        with tried.rule("unconditional_where"):
            _check_mixed(subject, adapter, tried)
    if isinstance(adapter, DropsCondition):
        with tried.rule("drop_condition"):
            _check_drop(subject, adapter, tried)


def _check_unconditional(subject: Subject, adapter: HasUnconditional, tried: Tried) -> None:
    rule, condition = "unconditional", subject.batch.condition_of(subject.role)
    with modules_that_run() as ran:
        plain = adapter.unconditional(condition)
    _expect_size(tried, rule, plain, 2)
    _expect_size(tried, rule, adapter.unconditional(condition.select(torch.tensor([0]))), 1)
    expect_alike(subject, tried, rule, "a condition before and after its unconditional side was made", condition)
    changed = subject.role.predict_velocity(subject.noisy, subject.timestep, plain)
    tried.expect(
        not torch.equal(changed, subject.velocity), rule, "predictions are those of the captions; leave the caption out"
    )
    with modules_that_run() as ran_again:
        adapter.unconditional(condition)
    tried.expect(
        not ran_again,
        rule,
        "every call runs an encoder, in every training step; encode the negative prompt once, and keep it",
    )
    gc.collect()
    held = [name for name, module in ran.items() if module() is not None]
    tried.expect(
        not held,
        "encoders released",
        f"{len(held)} modules of the text encoder ({', '.join(held[:1])}, ...) are alive after a training step's `unconditional`; let the "
        "encoder go once what a run repeats is encoded: it is larger than many a denoiser",
    )


def _check_drop(subject: Subject, adapter: DropsCondition, tried: Tried) -> None:
    rule, condition = "drop_condition", subject.batch.condition_of(subject.role)
    none = adapter.drop_condition(condition, torch.tensor([False, False]))
    expect_alike(subject, tried, rule, "conditions of which none is dropped, and the conditions", none)
    one = adapter.drop_condition(condition, torch.tensor([False, True]))
    _expect_size(tried, rule, one, 2)
    velocity = subject.role.predict_velocity(subject.noisy, subject.timestep, one)
    tried.expect_close(
        rule,
        "a row whose neighbour is dropped; drop where the mask is true alone",
        velocity[0],
        subject.velocity[0],
        subject.close,
    )
    tried.expect(
        not torch.equal(velocity[1], subject.velocity[1]),
        rule,
        "a dropped row is predicted as before; give it the empty caption",
    )
    expect_alike(subject, tried, rule, "a condition before and after some of it was dropped", condition)


def _check_mixed(subject: Subject, adapter: MixesUnconditional, tried: Tried) -> None:
    rule, condition = "unconditional_where", subject.batch.condition_of(subject.role)
    expected = subject.velocity
    if isinstance(adapter, HasUnconditional):
        negative = adapter.unconditional(condition)
        uncond = subject.role.predict_velocity(subject.noisy, subject.timestep, negative)
        expected = torch.stack([subject.velocity[0], uncond[1]])
    mixed = adapter.unconditional_where(condition, torch.tensor([False, True]))
    _expect_size(tried, rule, mixed, 2)
    tried.expect_close(
        rule,
        "a row under its condition beside one under its unconditional side; put that where the mask is true, and there alone",
        subject.role.predict_velocity(subject.noisy, subject.timestep, mixed),
        expected,
        subject.close,
    )
    expect_alike(subject, tried, rule, "a condition before and after some of it became unconditional", condition)


def _expect_size(tried: Tried, rule: str, condition: Condition, size: int) -> None:
    tried.expect(
        len(condition) == size,
        rule,
        f"the condition's len() is {len(condition)} instead of {size}; it is the batch size",
    )


def expect_alike(subject: Subject, tried: Tried, rule: str, what: str, condition: Condition) -> None:
    """A condition is judged by its predictions: they are those of the batch's own."""
    velocity: Tensor = subject.role.predict_velocity(subject.noisy, subject.timestep, condition)
    tried.expect_close(rule, f"predictions of {what}", velocity, subject.velocity, subject.close)


@contextmanager
def modules_that_run() -> Iterator[dict[str, weakref.ref[nn.Module]]]:
    """Which modules run inside, by the names of their classes and the order; they are not kept alive."""
    ran: dict[str, weakref.ref[nn.Module]] = {}

    def note(module: nn.Module, _: object) -> None:
        """Remember a module that runs."""
        ran[f"{type(module).__name__} {len(ran)}"] = weakref.ref(module)

    hook = register_module_forward_pre_hook(note)
    try:
        yield ran
    finally:
        hook.remove()
