"""Every family's denoiser read block by block, as one is whose weights lie in parts: the bits, the modules and what trains are those of one
that was loaded whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.families.conftest import CPU, FRAMES, MORE, Family

from distill_core.protocols import ModelRequest
from distill_core.training.sharding import blocks_of
from distill_core.training.unread import Unread

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", [*FRAMES, *MORE])
def test_a_denoiser_read_block_by_block_is_the_one_that_is_loaded_whole(
    make_family: Callable[[str], Family], name: str, dtype: torch.dtype
) -> None:
    family, unread = make_family(name), Unread()
    model = family.model(dtype)
    request = ModelRequest(family.facts, trainable=True, weights_dtype=dtype)
    whole = model.load_modules(request)
    read = model.load_modules(ModelRequest(family.facts, True, dtype, later=unread.add))
    for part, module in read.items():
        blocks = list(blocks_of(module))
        assert blocks
        assert all(block in unread for block in blocks)
        assert all(parameter.is_meta for block in blocks for parameter in block.parameters())
        for unit in (*blocks, module):
            unread.arrive(unit, CPU)
        theirs, ours = whole[part].state_dict(), module.state_dict()
        assert theirs.keys() == ours.keys()
        assert all(ours[each].equal(tensor) and ours[each].dtype is tensor.dtype for each, tensor in theirs.items())
        buffers = dict(module.named_buffers())
        assert all(buffers[each].equal(buffer) for each, buffer in whole[part].named_buffers())
        assert module.training
