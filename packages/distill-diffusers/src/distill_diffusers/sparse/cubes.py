"""Tokens of a grid, grouped in cubes of 4 × 4 × 4: the order that puts each cube's tokens side by side, and back.

N tokens of the grid in raster order (time, height, width), n cubes in the same order, S places in a cube: 64. A grid that does not
divide has smaller cubes at its far edges; their tokens come first, and the places that are left over hold zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import torch
from torch import Tensor

from distill_diffusers.sparse import CUBE

Grid = tuple[int, int, int]
"""Tokens along time, height and width."""


@dataclass(frozen=True, eq=False)
class Cubes:
    """One grid's cubes, with index tensors on one device.

    Attributes:
        places: tokens of a whole cube, S.
        sizes: tokens of each cube, int64 [n].
        order_N: the raster index of the token at each filled place, cube after cube.
        place_N: the place, of n · S, of each token in raster order.
    """

    places: int
    sizes: Tensor
    order_N: Tensor
    place_N: Tensor

    @property
    def count(self) -> int:
        """The number of cubes n."""
        return len(self.sizes)

    @property
    def whole(self) -> bool:
        """Whether every cube has all of its tokens."""
        return len(self.order_N) == self.count * self.places

    def tiled(self, tokens_BNHD: Tensor) -> Tensor:
        """Tokens [B, N, H, D] as cubes [B, H, n, S, D]; places without a token are 0."""
        batch, _, heads, width = tokens_BNHD.shape
        ordered_BNHD = tokens_BNHD.index_select(1, self.order_N)
        if not self.whole:
            filled_N = self.place_N.index_select(0, self.order_N)
            empty = ordered_BNHD.new_zeros(batch, self.count * self.places, heads, width)
            ordered_BNHD = empty.index_copy(1, filled_N, ordered_BNHD)
        return ordered_BNHD.view(batch, self.count, self.places, heads, width).permute(0, 3, 1, 2, 4)

    def untiled(self, cubes_BHnSD: Tensor) -> Tensor:
        """Cubes [B, H, n, S, D] as tokens [B, N, H, D]."""
        flat_BPHD = cubes_BHnSD.permute(0, 2, 3, 1, 4).flatten(1, 2)
        return flat_BPHD.index_select(1, self.place_N)

    def spread(self, cubes_BHnD: Tensor) -> Tensor:
        """One value per cube, [B, H, n, D], for each of its tokens, [B, N, H, D]."""
        return cubes_BHnD.transpose(1, 2).index_select(1, self.place_N // self.places)

    def filled(self) -> Tensor:
        """Which places hold a token, bool [n, S]."""
        return torch.arange(self.places, device=self.sizes.device) < self.sizes[:, None]


@lru_cache(maxsize=32)
def cubes_of(grid: Grid, device: torch.device, cube: Grid = CUBE) -> Cubes:
    """The cubes of a grid; made once per grid and device, and never changed."""
    raster_THW, places = torch.arange(prod(grid)).view(grid), prod(cube)
    members = [
        raster_THW[t : t + cube[0], h : h + cube[1], w : w + cube[2]].flatten()
        for t, h, w in product(*(range(0, size, side) for size, side in zip(grid, cube, strict=True)))
    ]
    order_N = torch.cat(members)
    place_N = torch.empty_like(order_N)
    place_N[order_N] = torch.cat([index * places + torch.arange(len(own)) for index, own in enumerate(members)])
    sizes = torch.tensor([len(own) for own in members])
    return Cubes(places, sizes.to(device), order_N.to(device), place_N.to(device))
