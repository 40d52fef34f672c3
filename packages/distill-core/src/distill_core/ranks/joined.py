"""Several processes as one run: torch.distributed's collectives, and one way out for all when one of them ends.

Collectives of host values go through gloo, those of tensors through the backend of their device.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import Store

from distill_core.errors import DistillError, PeerError, StoppedError
from distill_core.plugins.border import describe
from distill_core.ranks.layout import Layout
from distill_core.ranks.meeting import Meeting, reason_of
from distill_core.ranks.peers import Peers
from distill_core.ranks.place import Place
from distill_core.ranks.ranks import ALONE, Ranks, ValueT
from distill_core.ranks.watch import GONE, SILENT, STORE_GONE, Failure, Watch, tell
from distill_core.stopping import Stopping

_POLL = 0.02


class JoinedRanks(Ranks):
    """One of several processes. Made by :func:`joined`."""

    def __init__(
        self,
        place: Place,
        layout: Layout,
        store: Store,
        watch: Watch,
        timeout: float,
        meshes: DeviceMesh | None,
        peers: Peers | None,
    ) -> None:
        self.rank = place.rank
        self.size = place.size
        self.layout = layout
        self._meshes = meshes
        self._peers = peers
        self._store = store
        self._watch = watch
        self._timeout = timeout
        self._group: dist.ProcessGroup | None = None
        self._line = "made"
        self._made = 0

    def gather(self, value: ValueT) -> list[ValueT]:
        """The value of each rank, on every rank. It has to be one that can be pickled."""
        found: list[ValueT] = [value] * self.size
        dist.all_gather_object(found, value, group=self._group)
        return found

    def to_first(self, value: ValueT) -> list[ValueT]:
        """The value of each rank on the first one."""
        found: list[ValueT] = [value] * self.size
        dist.gather_object(value, found if self.first else None, group=self._group)
        return found if self.first else []

    def from_first(self, make: Callable[[], ValueT]) -> ValueT:
        """What the first rank makes, on every rank. It may take its time, longer than a collective may."""
        self._made += 1
        done = f"{self._line}/{self._made}"
        held: list[ValueT] = []
        if self.first:
            held = [make()]
            self._store.set(done, "")
        else:
            self._wait(done)
        sent: list[Any] = [held[0] if held else None]  # of no type: the place is filled by the broadcast
        dist.broadcast_object_list(sent, src=0, group=self._group)
        value: ValueT = sent[0]
        return value

    def most(self, numbers: Sequence[int]) -> list[int]:
        """The largest of each number over all ranks."""
        most = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(most, op=dist.ReduceOp.MAX, group=self._group)
        return [int(number) for number in most.tolist()]

    def anywhere(self, flags: Sequence[bool]) -> list[bool]:
        """Whether each of the flags is true on any rank."""
        return [bool(most) for most in self.most([int(flag) for flag in flags])]

    def sum_(self, tensor: Tensor, *, replicas: bool = False) -> None:
        """Add up a tensor over all ranks, or the replicas of this one."""
        dist.all_reduce(tensor, group=self._meshes.get_group("replicate") if replicas and self._meshes else None)

    @property
    def group(self) -> dist.ProcessGroup | None:
        """None is all processes of the run."""
        return self._group

    def second(self) -> Ranks:
        """The same processes, by collectives of host values that are a group of their own."""
        other = copy.copy(self)
        group = dist.new_group(backend="gloo", timeout=timedelta(seconds=self._timeout))
        assert isinstance(group, dist.ProcessGroup)  # every rank is in it
        other._group = group
        other._line, other._made = f"{self._line}/second", 0
        return other

    @property
    def mesh(self) -> DeviceMesh | None:
        """The ranks that share a model with this one."""
        return None if self._meshes is None else self._meshes["shard"]

    @property
    def peers(self) -> Peers | None:
        """The ranks that share the tokens of a clip with this one."""
        return self._peers

    def meet(self) -> None:
        """Wait until every rank is here."""
        self.most([0])

    def at(self, step: int) -> None:
        """Note how far this rank is."""
        self._watch.step = step

    def _wait(self, name: str) -> None:
        """Until the first rank has written something, for as long as it lives."""
        seen, sign = time.monotonic(), self._watch.alive(0)
        while not self._store.check([name]):
            time.sleep(_POLL)
            now = self._watch.alive(0)
            if now[0] != sign[0]:
                seen, sign = time.monotonic(), now
            if time.monotonic() - seen > max(SILENT, self._timeout):
                raise Failure(0, GONE, gone=True).error(self.rank)
            failure = self._watch.failure()
            if failure is not None:
                raise failure.error(self.rank)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Tell the others what ends this rank; where another one's end is the cause, raise PeerError with its reason."""
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            cause = self._cause(error, time.monotonic() - began)
            if cause is None:
                raise
            raise cause from error

    def _cause(self, error: BaseException, elapsed: float) -> PeerError | None:
        """The failure of another rank that an error follows from; None if it is this rank's own, which the others then know."""
        if isinstance(error, PeerError | StoppedError):
            return None
        try:
            own = isinstance(error, DistillError | KeyboardInterrupt) and not _in_torch(error)
            failure = None if own else self._watch.culprit(min(elapsed, self._timeout))
            if failure is None:
                failure = Failure(self.rank, reason_of(error))
            self._watch.tell(failure)
        except RuntimeError:  # the store is gone too
            failure = Failure(0, STORE_GONE, gone=True)
        return None if failure.rank == self.rank else failure.error(self.rank)


def _in_torch(error: BaseException | None) -> bool:
    """Whether an error may have begun in a collective: torch raises RuntimeError, which others, e.g. a method's border, wrap."""
    while error is not None:
        if isinstance(error, RuntimeError):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _connecting(store: Store, rank: int) -> Iterator[None]:
    """What torch raises where processes cannot be connected is the failure of this one, which the others hear of, or of an earlier one."""
    try:
        yield
    except RuntimeError as error:
        try:
            failure = tell(store, Failure(rank, f"it could not be connected with the others: {describe(error)}"))
        except RuntimeError:  # the store is gone too
            failure = Failure(0, STORE_GONE, gone=True)
        raise failure.error(rank) from error


@contextmanager
def joined(
    place: Place, environment: Mapping[str, str], stopping: Stopping, layout: Layout, *, timeout: float, gpu: bool
) -> Iterator[Ranks]:
    """Inside, this process is one of those of ``place``; :data:`ALONE` where it is the only one.

    ``timeout``: seconds that a rank waits for the others in a collective. ``gpu``: whether tensors lie on GPUs. Raises PeerError if the
    others do not come.
    """
    if place.size == 1:
        yield ALONE
        return
    meeting = Meeting(place, environment)

    def ask(number: int) -> None:
        """Let this process be asked to leave as another one was."""
        os.kill(os.getpid(), number)

    def asked() -> int:
        """The signal that this process was asked to leave by, or 0."""
        return 0 if stopping.asked is None else int(stopping.asked)

    with meeting.awaited(), stopping.at_once():
        store = meeting.reached(timeout)
        watch = Watch(meeting.connected(timeout), place.rank, place.size, asked, ask)
    watch.start()
    try:
        with meeting.awaited(), stopping.at_once(), _connecting(store, place.rank):
            meeting.all_come(store, timeout)
            backend, wait = "cpu:gloo,cuda:nccl" if gpu else "gloo", timedelta(seconds=timeout)
            dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size, timeout=wait)
        names, device = ("replicate", "shard"), "cuda" if gpu else "cpu"
        meshes = peers = None
        if layout.shard > 1:
            meshes = init_device_mesh(device, (layout.replicate, layout.shard), mesh_dim_names=names)
        if layout.context > 1:
            peers = _peers(place, layout.context, device)
        ranks = JoinedRanks(place, layout, store, watch, timeout, meshes, peers)
        with ranks.guarded():
            yield ranks
            ranks.from_first(lambda: None)
    finally:
        watch.finish()
        meeting.part(store)
        if dist.is_initialized():
            dist.destroy_process_group()


def _peers(place: Place, context: int, device: str) -> Peers:
    """The ranks one after another that share clips."""
    mesh = init_device_mesh(device, (place.size // context, context), mesh_dim_names=("batch", "context"))
    return Peers(place.rank % context, context, mesh.get_group("context"))
