"""How much memory is alive, whose it is, and how much it was at most: every storage that an operation made, hollow or real.

Counts what tensors hold. What a kernel takes and gives back by itself is not seen, but for attention on a GPU; nor what an allocator
rounds up.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distill_core.planning.hollow import storage_of, tensors_of
from distill_core.planning.work import Work, flops_of, workspace_of

Owner = tuple[str, str]
"""A role, by its name, and what of it, e.g. "optimizer"."""

NOBODY: Owner = ("", "activations")
"""What nobody claimed: activations, and whatever else comes and goes."""

_DEVICE = torch.ops.prim.device.default


@dataclass
class Phase:
    """A stretch of a run.

    Attributes:
        name: what is done in it.
        before: bytes of nobody that were alive when it began.
        after: and when it ended.
        peak: the most bytes that were alive at once.
        owned: bytes of each owner at that moment.
        work: what was computed in it.
        sent: bytes that this rank got from the others, by the role whose weights or gradients they are.
    """

    name: str
    before: int = 0
    after: int = 0
    peak: int = 0
    owned: Mapping[Owner, int] = field(default_factory=dict)
    work: Work = field(default_factory=Work)
    sent: Counter[str] = field(default_factory=Counter)


class Ledger(TorchDispatchMode):
    """Inside, every storage that comes or goes is written down. ``on_card``: count what a GPU's kernels take for themselves too.

    Attributes:
        phases: what there was since the first :meth:`turn`, in order.
    """

    def __init__(self, *, on_card: bool = False) -> None:
        TorchDispatchMode.__init__(self)
        self.phases: list[Phase] = []
        self._alive: dict[int, tuple[int, Owner, Any]] = {}
        self._owned: Counter[Owner] = Counter()
        self._total = 0
        self._on_card = on_card
        self._current = Phase("")

    @property
    def total(self) -> int:
        """Bytes that are alive."""
        return self._total

    @property
    def owned(self) -> Mapping[Owner, int]:
        """Bytes that are alive, by owner."""
        return {owner: size for owner, size in self._owned.items() if size}

    def turn(self, name: str) -> Phase:
        """A phase begins, and the one before it is over."""
        self._current.after = self._owned[NOBODY]
        self._current = Phase(name, before=self._owned[NOBODY])
        self._note_peak()
        self.phases.append(self._current)
        return self._current

    def own(self, owner: Owner, tensors: Iterable[Tensor]) -> None:
        """From now on these belong to ``owner``; what was made before the ledger was opened is taken up."""
        for tensor in tensors:
            storage = storage_of(tensor)
            key = storage._cdata
            if key not in self._alive:
                self._enter(storage, owner)
                continue
            size, former, reference = self._alive[key]
            self._alive[key] = (size, owner, reference)
            self._owned[former] -= size
            self._owned[owner] += size

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch's switch: nothing is compiled here, so no call is guarded against it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Carry out an operation, and take in what it made."""
        named = {} if kwargs is None else kwargs
        made = func(*args, **named)
        if func is _DEVICE:
            return made
        outputs = tensors_of((made,), {})
        new = [storage for tensor in outputs if (storage := storage_of(tensor))._cdata not in self._alive]
        for storage in new:
            if storage._cdata not in self._alive and storage.nbytes():
                self._enter(storage, NOBODY)
        if self._on_card and (workspace := workspace_of(func, args)):
            self._note_peak(workspace)
        if new or func._schema.is_mutable:
            self._current.work.add(flops_of(func, args, named, made), tensors_of(args, named), outputs)
        return made

    def forget(self, tensors: Iterable[Tensor]) -> None:
        """They leave the device, though they live."""
        for key in {storage_of(tensor)._cdata for tensor in tensors} & self._alive.keys():
            self._leave(key)

    def count_as(self, tensor: Tensor, size: int) -> None:
        """From now on what a tensor, which is alive, lies in counts as so many bytes: those of a part."""
        key = storage_of(tensor)._cdata
        former, owner, reference = self._alive[key]
        self._alive[key] = (size, owner, reference)
        self._owned[owner] += size - former
        self._total += size - former

    def take(self, size: int) -> None:
        """So many bytes more of nobody's, of a buffer that is not played; below 0: so many fewer."""
        self._owned[NOBODY] += size
        self._total += size
        self._note_peak()

    def send(self, role: str, size: float) -> None:
        """So many bytes come from other ranks."""
        self._current.sent[role] += round(size)

    def counted(self, tensor: Tensor) -> int:
        """What a tensor counts as; its own bytes where it lives in host memory."""
        storage = storage_of(tensor)
        found = self._alive.get(storage._cdata)
        return storage.nbytes() if found is None else int(found[0])

    def _enter(self, storage: torch.UntypedStorage, owner: Owner) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive[key] = (size, owner, weakref.ref(storage, lambda _: self._leave(key)))
        self._owned[owner] += size
        self._total += size
        self._note_peak()

    def _leave(self, key: int) -> None:
        size, owner, _ = self._alive.pop(key)
        self._owned[owner] -= size
        self._total -= size

    def _note_peak(self, workspace: int = 0) -> None:
        if self._total + workspace > self._current.peak:
            self._current.peak = self._total + workspace
            self._current.owned = dict(self._owned)
