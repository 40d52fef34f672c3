"""What becomes of a role as soon as its first weights are there: it is known by their hashes, and its weights are spread over the ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from distill_core.errors import PeerError
from distill_core.ranks.ranks import Ranks
from distill_core.running.continuation import flatten, without_paths
from distill_core.running.identity import Known, frozen_hash, hashes_of, learn, used_plugins
from distill_core.running.preparation import Prepared
from distill_core.running.versions import versions_below
from distill_core.training.roles import OWN_MODULE, RoleHandle
from distill_core.training.unread import Unread

Settle = Callable[[RoleHandle], None]
Spread = Callable[[nn.ModuleDict, Unread], None]
"""Takes modules some of whose blocks are unread, before any role is made of them."""


def left_alone(role: RoleHandle) -> None:
    """Of one process nothing becomes of it."""


class Settling:
    """Takes each role of a run in turn: the next one is loaded only after the whole weights of this one have left the device.

    ``device``: where weights are spread.

    Weights that several roles share are hashed once, and spread once.

    Attributes:
        frozen: by role, the hash of the weights that no checkpoint holds.
    """

    def __init__(self, ranks: Ranks, device: torch.device = torch.device("cpu")) -> None:
        self.ranks = ranks
        self.device = device
        self.frozen: dict[str, str | None] = {}
        self._first: dict[str, str] = {}
        self._known: Known = {}
        self._seen: list[nn.Module] = []
        self._spread: list[nn.Module] = []

    @property
    def spread(self) -> Spread | None:
        """Reads, hashes and spreads block after block, so that no rank ever holds a model whole; None where models stay whole."""
        return None if self.ranks.mesh is None else self._in_turn

    def _in_turn(self, container: nn.ModuleDict, unread: Unread) -> None:
        from distill_core.training.sharding import shard

        assert self.ranks.mesh is not None
        self._spread.append(container)
        places = {module: f"{name}." for name, module in container.named_modules()}

        def ready(unit: nn.Module) -> None:
            """Read it, and take the hashes of what is new."""
            unread.arrive(unit, self.device)
            learn(container, {f"{places[unit]}{name}": each for name, each in unit.state_dict().items()}, self._known)

        for module in container.values():
            shard(module, self.ranks.mesh, ready)

    def __call__(self, role: RoleHandle) -> None:
        """Hash and spread. A LoRA, and a module of the method's own, stay whole."""
        new = role.container not in self._seen
        self._seen.append(role.container)
        if new and not self.ranks.alone:
            learn(role.container, role.weights(), self._known)
        self.frozen[role.name] = frozen_hash(role, self._known)
        if self.ranks.alone:
            return
        role.peers = self.ranks.peers
        modules = {name: each for (owner, name), each in self._known.items() if owner is role.container}
        own = {} if role.lora is None else hashes_of(role.lora.state_dict())
        lines = [f"{name} {each}\n" for some in (modules, own) for name, each in sorted(some.items())]
        self._first[f"weights of {role.name}"] = hashlib.sha256("".join(lines).encode()).hexdigest()
        if self.ranks.mesh is None or OWN_MODULE in role.container:
            return
        role.among = self.ranks
        if new and role.container not in self._spread:
            from distill_core.training.sharding import shard

            for module in role.modules.values():
                shard(module, self.ranks.mesh)

    def agree(self) -> None:
        """Raise PeerError if a role's first weights are not the same on all ranks."""
        refuse_unlike(self._first, self.ranks)


def refuse_unlike_code(prepared: Prepared, plugins: Sequence[Mapping[str, str]], ranks: Ranks) -> None:
    """Raise PeerError if ranks have other settings, data or packages. ``plugins``: the rows of the installed ones."""
    if ranks.alone:
        return
    run = prepared.run
    settings = {name: repr(value) for name, value in flatten(without_paths(run.to_mapping())).items()}
    code = versions_below(row["package"] for row in used_plugins(run, plugins))
    packages = {f"the package {name}": version for name, version in code.items()}
    refuse_unlike({**settings, "data": prepared.dataset.fingerprint(), **packages}, ranks)


def refuse_unlike(known: Mapping[str, str], ranks: Ranks) -> None:
    """Raise PeerError if what is known by name is not the same on all ranks: each names what differs."""
    for rank, theirs in enumerate(ranks.gather(dict(known))):
        names = sorted(known.keys() | theirs.keys())
        differing = [name for name in names if known.get(name) != theirs.get(name)]
        if differing:
            raise _disagreement(rank if rank else ranks.rank, differing, ranks)


def _disagreement(rank: int, differing: list[str], ranks: Ranks) -> PeerError:
    remedy = "all processes need the same run.yaml, models, data and packages"
    return PeerError(f"rank {rank} has other than rank 0: {', '.join(differing)}; {remedy}", told=not ranks.first)
