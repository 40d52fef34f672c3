"""What tiny pipelines for tests are made of: real tokenizers, text encoders and VAEs, only small. ``Any``: they have no common type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from distill_diffusers.quiet import quietly

CAPTIONS = (
    "a red square moves left", "a green circle moves right", "a blue triangle moves up", "a yellow square moves down",
    "a cat walks through tall grass", "low quality, blurred, static", "the quick brown fox jumps over the lazy dog",
)  # fmt: skip
TEXT_WIDTH = 32


def save_tiny(path: Path, make: Callable[[], Any], seed: int) -> Path:
    """Save the untrained pipeline that ``make`` draws from ``seed``; returns ``path``. The global random state is left alone."""
    with torch.random.fork_rng(devices=[]), quietly():
        torch.manual_seed(seed)
        make().save_pretrained(path)
    return path


def tiny_tokenizer(captions: Sequence[str] = CAPTIONS) -> Any:
    """A Unigram tokenizer trained on ``captions``, in the form of T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=256, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_ids=0,
        model_max_length=512,
    )


def clip_tokenizer() -> Any:
    """CLIP's tokenizer, which knows letters and no words."""
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: number for number, name in enumerate(names)}, merges=[], model_max_length=77)


def byte_tokenizer() -> Any:
    """Qwen's tokenizer, which knows bytes and no words."""
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return Qwen2Tokenizer(vocab={name: number for number, name in enumerate(names)}, merges=[], model_max_length=2048)


def tiny_t5(tokenizer: Any, width: int = TEXT_WIDTH) -> Any:
    """A T5 encoder for that tokenizer."""
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, relative_attention_num_buckets=8
    )  # fmt: skip
    return T5EncoderModel(config).eval()


def tiny_clip(tokenizer: Any, width: int = TEXT_WIDTH, *, projected: bool = False) -> Any:
    """A CLIP text encoder for that tokenizer, with a projection or without."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=37, projection_dim=width, num_hidden_layers=2,
        num_attention_heads=4, **special,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def tiny_picture_vae(channels: int, *, scaling_factor: float, shift_factor: float) -> Any:
    """An AutoencoderKL that makes one latent row of four pixel rows."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=channels, layers_per_block=1, norm_num_groups=4, scaling_factor=scaling_factor, shift_factor=shift_factor,
        use_quant_conv=False, use_post_quant_conv=False,
    ).eval()  # fmt: skip
