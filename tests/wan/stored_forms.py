"""What tests of Wan's files share: names of the original release, a part as a role loads it, and its comparison."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from distill_core.protocols import ModelRequest
from distill_core.training.sharding import blocks_of
from distill_core.training.unread import Unread
from distill_model_wan.config import WanOptions
from distill_model_wan.folder import inspect
from distill_model_wan.model import WanModel

Put = Callable[..., Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"
ORIGINAL = (
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.image_embedder\.norm1\.", "img_emb.proj.0."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\.", "img_emb.proj.1."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\.", "img_emb.proj.3."),
    (r"^condition_embedder\.image_embedder\.norm2\.", "img_emb.proj.4."),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\.", "head.head."),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.norm2\.", ".norm3."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.add_([kv])_proj\.", r".\1_img."),
    (r"\.norm_added_k\.", ".norm_k_img."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
)
"""From diffusers' names to those of Wan's own release."""


def original(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Tensors under the names of the original release."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, to in ORIGINAL:
            name = re.sub(pattern, to, name)
        renamed[prefix + name] = tensor
    return renamed


def loaded(folder: Path, dtype: torch.dtype = torch.float32, *, trainable: bool = False) -> nn.Module:
    """A role's transformer, which is the same where it is read block by block."""
    facts, unread = inspect(str(folder)), Unread()
    model = WanModel(facts, WanOptions(), torch.device("cpu"), dtype)
    request = ModelRequest(facts, trainable, dtype)
    whole = model.load_modules(request)["transformer"]
    in_turn = model.load_modules(replace(request, later=unread.add))["transformer"]
    assert any(parameter.is_meta for parameter in in_turn.parameters())
    for unit in (*blocks_of(in_turn), in_turn):
        unread.arrive(unit, torch.device("cpu"))
    theirs, ours = whole.state_dict(), in_turn.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(ours[name].equal(each) and ours[name].dtype is each.dtype for name, each in theirs.items())
    return whole


def assert_same(module: nn.Module, expected: Mapping[str, Tensor], *, within: float = 0.0) -> None:
    found = module.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].float() - tensor.float()).abs().max() <= within * tensor.float().abs().max(), name
