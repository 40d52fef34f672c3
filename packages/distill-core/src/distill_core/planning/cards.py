"""GPUs that a run may be planned for, by the names that people know them by, and what of their memory a run can have."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

_CONTEXT = 0.6 * GIB
"""What CUDA, cuBLAS and the kernels' code take before the first tensor."""
_SPLIT = 0.03
"""Share of the rest that the allocator cannot hand out, because what is free lies in pieces."""
_PRODUCTS = 0.55
"""Share of the published rate that large products and attention reach."""
_COPIES = 0.75
"""Share of the published bandwidth that everything else reaches."""
_LINKS = 0.75
"""Share of a link's published rate that collectives reach."""
_PCIE = (32e9, "PCIe 4 x16")
_NVLINK = (450e9, "NVLink 4")


@dataclass(frozen=True)
class Card:
    """One GPU.

    Attributes:
        name: what ``--gpu`` calls it.
        example: a model of that memory, whose rates the others are.
        memory: bytes that it reports.
        flops: dense bf16 operations per second that its maker publishes.
        bandwidth: bytes per second that its memory moves, likewise.
        link: bytes per second that it gets from another one in the same machine, while it gives as many, likewise.
        by: what that goes by.
    """

    name: str
    example: str
    memory: int
    flops: float
    bandwidth: float
    link: float
    by: str

    @property
    def usable(self) -> int:
        """Bytes that tensors can have."""
        return int((self.memory - _CONTEXT) * (1.0 - _SPLIT))

    def seconds(self, flops: float, traffic: float) -> float:
        """An estimate: products at a usual share of the published rate, everything else at one of the bandwidth, one after the other."""
        return flops / (_PRODUCTS * self.flops) + traffic / (_COPIES * self.bandwidth)

    def sending(self, size: float) -> float:
        """Seconds for so many bytes from other GPUs of one machine, at a usual share of the link."""
        return size / (_LINKS * self.link)


CARDS = {
    card.name: card
    for card in (
        Card("12GB", "RTX 4070", 12282 * MIB, 58e12, 504e9, *_PCIE),
        Card("24GB", "RTX 4090", 24564 * MIB, 165e12, 1008e9, *_PCIE),
        Card("48GB", "L40S", 46068 * MIB, 362e12, 864e9, *_PCIE),
        Card("80GB", "H100 SXM", 81559 * MIB, 989e12, 3350e9, *_NVLINK),
        Card("141GB", "H200", 143771 * MIB, 989e12, 4800e9, *_NVLINK),
    )
}
