"""What tiny pipelines for tests are made of: a real tokenizer that has learned a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import T5TokenizerFast

CAPTIONS = (
    "a red square moves left", "a green circle moves right", "a blue triangle moves up", "a yellow square moves down",
    "a cat walks through tall grass", "low quality, blurred, static", "the quick brown fox jumps over the lazy dog",
)  # fmt: skip
TEXT_WIDTH = 32


def tiny_tokenizer(captions: Sequence[str]) -> Any:
    """A Unigram tokenizer trained on ``captions``, in the form of T5's. ``Any``: transformers' tokenizers have no common type."""
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
