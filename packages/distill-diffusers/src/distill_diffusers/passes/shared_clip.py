"""Passes of which several processes have the same clip, and each a part of its tokens: where tokens begin and end, and how they attend.

Attention is Ulysses' (arXiv 2309.14509): queries, keys and values of a process's own tokens are exchanged for those of all tokens and some
of the heads, and what is attended goes back. All else of a block is of each token alone, or of a caption, which every process has.

B batch, N tokens, n a process's own, H heads, h a process's share of them, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from distill_core.errors import ConfigError, Problem
from distill_core.ranks.peers import Peers


def shared_attention(q_BnHD: Tensor, k_BnHD: Tensor, v_BnHD: Tensor, peers: Peers) -> Tensor:
    """Queries and keys after norm and rotation, and values, of the own tokens, to the attended values, [B, n, H, D]."""
    # Norms may have left queries and keys in float32: attention would round them to the values' dtype, and so much less is sent.
    own_3BnHD = torch.stack([q_BnHD.type_as(v_BnHD), k_BnHD.type_as(v_BnHD), v_BnHD])
    q_BNhD, k_BNhD, v_BNhD = peers.exchanged(own_3BnHD, gathered=2, split=3).unbind()
    attended_BNhD: Tensor = dispatch_attention_fn(q_BNhD, k_BNhD, v_BNhD)
    return peers.exchanged(attended_BNhD, gathered=2, split=1)


@dataclass(frozen=True)
class TokensPath:
    """The modules between which a denoiser's tokens are those of one process.

    Attributes:
        embedder: makes them of a video, [B, width, T, H, W], of which the denoiser makes [B, N, width].
        rotary: gives their positions, [1, N, …] each.
        output: makes of each what it is to be predicted, [B, N, numbers].
    """

    embedder: str
    rotary: str
    output: str

    @contextmanager
    def shared(self, denoiser: nn.Module, peers: Peers) -> Iterator[None]:
        """Inside, a pass has a part of the tokens.

        The three modules are no part of a block, so nothing of this is recomputed in backward.
        """
        hooks = [
            denoiser.get_submodule(self.embedder).register_forward_hook(partial(_own_tokens, peers)),
            denoiser.get_submodule(self.rotary).register_forward_hook(partial(_own_positions, peers)),
            denoiser.get_submodule(self.output).register_forward_hook(partial(_all_tokens, peers)),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _own_tokens(peers: Peers, _: nn.Module, __: object, video_BDTHW: Tensor) -> Tensor:
    """[B, width, n]: the denoiser flattens the last three dimensions, of which one is left."""
    tokens_BDN = video_BDTHW.flatten(2)
    count = tokens_BDN.shape[2]
    if count % peers.count:
        message = f"{peers.count} processes cannot share the {count} tokens of a clip equally; set it to a divisor of {count}, or to 1"
        raise ConfigError([Problem("distributed.context", message)])
    return peers.own(tokens_BDN, 2)


def _own_positions(peers: Peers, _: nn.Module, __: object, rotary: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(peers.own(each, 1) for each in rotary)


def _all_tokens(peers: Peers, _: nn.Module, __: object, own: Tensor) -> Tensor:
    return peers.whole(own, 1)
