"""Who sees whom among the frames of one causal pass, in the forms that attention takes it.

Keys stand in the order [stream | clean | own]: those of the frames before, of the clean frames that are context, of the pass's own frames;
queries are the last two. A block sees the whole stream and itself; of the blocks before it, it sees the clean frames where there are
such, else the pass's own; clean frames see clean ones likewise. So a query sees two spans of keys: [0, reach) and [start, stop).

T latent frames, N queries, K keys, i j tiles of queries and of keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import pad

TILE = 128
"""Queries and keys of one tile of flex_attention's mask."""


@dataclass(frozen=True)
class Arrangement:
    """The frames of one pass.

    Attributes:
        frames: of the pass itself, T; as many clean ones stand before them, where there are such.
        blocks: latent frames of a block; the last may have fewer.
        per_frame: tokens of a frame.
        clean: whether clean frames are context.
        past: frames that the stream keeps.
    """

    frames: int
    blocks: int
    per_frame: int
    clean: bool = False
    past: int = 0


@dataclass(frozen=True, eq=False)
class Sight:
    """What each query sees, as spans of keys; never changed, and made once per arrangement and device.

    Attributes:
        keys: the number of keys K.
        reach_N: the end of the first span, which begins at 0.
        start_N: the beginning of the second.
        stop_N: its end.
    """

    keys: int
    reach_N: Tensor
    start_N: Tensor
    stop_N: Tensor

    @cached_property
    def dense(self) -> Tensor:
        """Which query sees which key, bool [N, K]."""
        key_1K = torch.arange(self.keys, device=self.reach_N.device)[None]
        second_NK = (key_1K >= self.start_N[:, None]) & (key_1K < self.stop_N[:, None])
        return (key_1K < self.reach_N[:, None]) | second_NK

    @cached_property
    def block_mask(self) -> BlockMask:
        """The same for flex_attention, which looks at no pair of tokens in tiles that are seen whole or not at all."""
        reach_N, start_N, stop_N = self.reach_N, self.start_N, self.stop_N

        def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            """Whether a query sees a key."""
            return (key < reach_N[query]) | ((key >= start_N[query]) & (key < stop_N[query]))

        seen_ij = self._seen_pairs()
        whole_ij = seen_ij == TILE * TILE
        edge, full = _listed((seen_ij > 0) & ~whole_ij), _listed(whole_ij)
        lengths = (len(reach_N), self.keys)
        return BlockMask.from_kv_blocks(*edge, *full, BLOCK_SIZE=TILE, mask_mod=sees, seq_lengths=lengths)

    def _seen_pairs(self) -> Tensor:
        """How many pairs of a query and a key that it sees each tile holds, int64 [i, j]; one that is cut at the end holds fewer."""
        first_j = torch.arange(0, self.keys, TILE, device=self.reach_N.device)
        last_j = (first_j + TILE).clamp_max(self.keys)

        def overlap(start_N: Tensor, stop_N: Tensor) -> Tensor:
            """Keys of each tile that lie in each query's span, [N, j]."""
            return (torch.minimum(stop_N[:, None], last_j) - torch.maximum(start_N[:, None], first_j)).clamp_min(0)

        seen_Nj = overlap(torch.zeros_like(self.reach_N), self.reach_N) + overlap(self.start_N, self.stop_N)
        missing = -len(seen_Nj) % TILE
        seen_ij: Tensor = pad(seen_Nj, (0, 0, 0, missing)).unflatten(0, (-1, TILE)).sum(1)
        return seen_ij


@lru_cache(maxsize=8)
def sight_of(arrangement: Arrangement, device: torch.device) -> Sight | None:
    """What each token of a pass sees, or None where all see all."""
    frames, blocks, past = arrangement.frames, arrangement.blocks, arrangement.past
    if blocks >= frames and not arrangement.clean:
        return None
    begin_T = torch.arange(frames) // blocks * blocks
    end_T, none_T = (begin_T + blocks).clamp_max(frames), torch.zeros_like(begin_T)
    reach, start, stop = past + end_T, none_T, none_T
    if arrangement.clean:
        own_T = past + frames + begin_T
        reach = torch.cat([reach, past + begin_T])
        start, stop = torch.cat([start, own_T]), torch.cat([stop, past + frames + end_T])
    keys = past + frames * (2 if arrangement.clean else 1)
    spans = (each.repeat_interleave(arrangement.per_frame) for each in (reach, start, stop))
    return Sight(
        keys * arrangement.per_frame, *((each * arrangement.per_frame).to(device, torch.int64) for each in spans)
    )


def _listed(chosen_ij: Tensor) -> tuple[Tensor, Tensor]:
    """How many tiles of keys each tile of queries has, int32 [1, 1, i], and which, first in the row, int32 [1, 1, i, j]."""
    order = chosen_ij.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return chosen_ij.sum(dim=-1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]
