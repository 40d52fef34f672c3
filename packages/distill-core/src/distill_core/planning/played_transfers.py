"""Weights that come and go, in a plan: nothing moves, and the ledger hears of it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from distill_core.planning.ledger import NOBODY, Ledger, Owner
from distill_core.training.offload import Offload, Unit


class PlayedTransfers:
    """The :class:`distill_core.training.offload.Transfers` of a run that is played: what lives in host memory takes none of a device."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._owners: dict[Unit, Owner] = {}

    def claim(self, offload: Offload, owner: Owner) -> None:
        """Units are an owner's, and away."""
        for unit in offload.units:
            self._owners[unit] = owner
            self.drop(unit)

    def settle(self, unit: Unit) -> None:
        """It is not made yet: what holds nothing takes its weights' place first."""

    def begin(self, unit: Unit) -> None:
        """Its bytes are on the device."""
        self.ledger.own(self._owners.get(unit, NOBODY), unit.module.parameters())

    def finish(self, unit: Unit) -> None:
        """Nothing is waited for."""

    def drop(self, unit: Unit) -> None:
        """Its bytes are free."""
        self.ledger.forget(unit.module.parameters())

    def hosted(self, unit: Unit) -> Mapping[int, Tensor]:
        """Nowhere."""
        return {}
