"""Folded padding against every padding token attended, forward and backward, with and without recomputation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from distill_model_wan.attention import TextCall, checkpoint_blocks, fold_text, text_call
from distill_model_wan.text import TextPacking, WanText

CPU = torch.device("cpu")
LENGTHS = ((5, 12), (1, 30), (0, 3), (7, 510), (512, 2))
Draw = Callable[..., Tensor]


def make_transformer(dtype: torch.dtype, *, text_weight: float = 1.0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        transformer = WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8,
            freq_dim=32, ffn_dim=24, num_layers=2, rope_max_seq_len=16,
        )  # fmt: skip
    with torch.no_grad():
        for block in transformer.blocks:
            block.attn2.to_v.weight.mul_(text_weight)
    # Not transformer.to(dtype), against which diffusers warns.
    for module in transformer.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            tensor.data = tensor.data.to(dtype)
    return transformer


def captions(noise: Draw, lengths: tuple[int, ...]) -> list[Tensor]:
    return [noise(length, 8, seed=length) for length in lengths]


def run(transformer: Any, text: WanText, noise: Draw, dtype: torch.dtype, timestep: float = 700.0) -> Tensor:
    noisy = noise(len(text), 4, 2, 4, 4, dtype=dtype)
    steps = torch.full((len(text),), timestep)
    with text_call(TextCall(text.pad_bias_L)):
        output: Tensor = transformer(noisy, steps, text.embeds_BLD.to(dtype), return_dict=False)[0]
    return output


def gradients(transformer: Any) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in transformer.named_parameters() if parameter.grad is not None}
    transformer.zero_grad()
    return found


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_layer_is_exact_in_float64(noise: Draw, lengths: tuple[int, ...]) -> None:
    transformer = make_transformer(torch.float64)
    layer = transformer.blocks[0].attn2
    texts = [TextPacking(512, fold, torch.float64, CPU).pack(captions(noise, lengths)) for fold in (False, True)]
    hidden = noise(len(lengths), 6, 24, dtype=torch.float64)
    embed = transformer.condition_embedder.text_embedder
    expected = layer(hidden, embed(texts[0].embeds_BLD.double()))
    fold_text(transformer)
    with text_call(TextCall(texts[1].pad_bias_L)):
        folded = layer(hidden, embed(texts[1].embeds_BLD.double()))
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-13)


# Wan's blocks compute their norms in float32 whatever the dtype, so that the last bits of float32 remain in float64 too.
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_folding_changes_neither_output_nor_gradient(
    noise: Draw, lengths: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    plain, folded = make_transformer(dtype, text_weight=4.0), make_transformer(dtype, text_weight=4.0)
    fold_text(folded)
    full = TextPacking(512, False, dtype, CPU).pack(captions(noise, lengths))
    short = TextPacking(512, True, dtype, CPU).pack(captions(noise, lengths))
    expected, output = run(plain, full, noise, dtype), run(folded, short, noise, dtype)
    torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)
    expected.square().sum().backward()
    output.square().sum().backward()
    wanted, found = gradients(plain), gradients(folded)
    assert wanted.keys() == found.keys()
    scale = max(gradient.abs().max().item() for gradient in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


def test_the_bias_matters(noise: Draw) -> None:
    transformer = make_transformer(torch.float32, text_weight=4.0)
    fold_text(transformer)
    text = TextPacking(512, True, torch.float32, CPU).pack(captions(noise, (5, 12)))
    with_bias = run(transformer, text, noise, torch.float32)
    without = run(transformer, WanText(text.embeds_BLD, None), noise, torch.float32)
    assert (with_bias - without).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64])
def test_interleaved_calls_are_recomputed_under_their_own_bias(noise: Draw, dtype: torch.dtype) -> None:
    """A conditional and an unconditional pass of different lengths, both alive when backward recomputes them."""
    kept, recomputed = make_transformer(dtype, text_weight=4.0), make_transformer(dtype, text_weight=4.0)
    for transformer in (kept, recomputed):
        fold_text(transformer)
    checkpoint_blocks(recomputed)
    pack = TextPacking(512, True, dtype, CPU)
    cond, uncond = pack.pack(captions(noise, (20, 9))), pack.pack(captions(noise, (2, 3)))
    assert cond.embeds_BLD.shape != uncond.embeds_BLD.shape
    found = []
    for transformer in (kept, recomputed):
        one = run(transformer, cond, noise, dtype)
        other = run(transformer, uncond, noise, dtype, timestep=100.0)
        (one.square().sum() + 3.0 * other.square().sum()).backward()
        found.append(gradients(transformer))
    for name, gradient in found[0].items():
        assert found[1][name].equal(gradient), name


def test_same_lengths_of_different_bias_are_told_apart_in_recomputation(noise: Draw) -> None:
    """The case that no shape check would catch: equal shapes, another bias."""
    transformer = make_transformer(torch.float64, text_weight=4.0)
    fold_text(transformer)
    checkpoint_blocks(transformer)
    embeds = TextPacking(512, True, torch.float64, CPU).pack(captions(noise, (5,))).embeds_BLD
    texts = [
        WanText(embeds, TextPacking(length, True, torch.float64, CPU).pack(captions(noise, (5,))).pad_bias_L)
        for length in (512, 16)
    ]
    alone = []
    for text in texts:
        run(transformer, text, noise, torch.float64).square().sum().backward()
        alone.append(gradients(transformer))
    losses = [run(transformer, text, noise, torch.float64).square().sum() for text in texts]
    torch.stack(losses).sum().backward()
    for name, gradient in gradients(transformer).items():
        torch.testing.assert_close(gradient, alone[0][name] + alone[1][name], rtol=1e-10, atol=1e-12)


def test_a_failed_call_leaves_no_bias_behind(noise: Draw) -> None:
    transformer = make_transformer(torch.float32, text_weight=4.0)
    fold_text(transformer)
    pack = TextPacking(512, True, torch.float32, CPU)
    text, longer = pack.pack(captions(noise, (5,))), pack.pack(captions(noise, (20,)))
    hidden, layer = noise(1, 6, 24), transformer.blocks[0].attn2
    embeds = transformer.condition_embedder.text_embedder(text.embeds_BLD)
    before = layer(hidden, embeds)
    with pytest.raises(RuntimeError), text_call(TextCall(longer.pad_bias_L)):
        layer(hidden, embeds)
    assert layer(hidden, embeds).equal(before)


def test_two_transformers_do_not_share_a_processor() -> None:
    transformer = make_transformer(torch.float32)
    fold_text(transformer)
    processors = [block.attn2.processor for block in transformer.blocks]
    assert len({id(processor) for processor in processors}) == len(processors)
    assert all(type(block.attn1.processor).__name__ == "WanAttnProcessor" for block in transformer.blocks)
