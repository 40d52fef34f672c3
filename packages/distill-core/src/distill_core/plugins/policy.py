"""Which plugins may be loaded: ``DISTILL_LOAD_PLUGINS`` and ``DISTILL_BLOCK_PLUGINS``.

They are read from the environment, so that child processes agree. A name in them is that of an entry point, of a
package, or of a model or method. The last is known only after the plugin's module has been imported; the other two are
decided before anything is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass

LOAD = "DISTILL_LOAD_PLUGINS"
BLOCK = "DISTILL_BLOCK_PLUGINS"


def normal_name(name: str) -> str:
    """A name as it is compared: case, ``-``, ``_`` and ``.`` make no difference (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(comma_list: str) -> frozenset[str]:
    return frozenset(normal_name(name.strip()) for name in comma_list.split(",") if name.strip())


def block(environment: MutableMapping[str, str], names: Iterable[str]) -> None:
    """Add ``names`` to the blocklist of ``environment``: what ``--no-plugin`` does."""
    present = environment.get(BLOCK, "")
    environment[BLOCK] = ",".join([*filter(None, [present]), *names])


@dataclass(frozen=True)
class LoadPolicy:
    """What the environment says of plugins.

    Attributes:
        allowed: load only these; None loads all.
        blocked: never load these; wins over ``allowed``.
    """

    allowed: frozenset[str] | None = None
    blocked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> LoadPolicy:
        """Read both variables. An empty ``DISTILL_LOAD_PLUGINS`` allows none, an unset one all."""
        allowed = environment.get(LOAD)
        return cls(None if allowed is None else _names(allowed), _names(environment.get(BLOCK, "")))

    def blocks(self, *names: str) -> str | None:
        """Why something that goes by ``names`` is blocked by one of them, or None."""
        return f"by --no-plugin or {BLOCK}" if self._known(names) & self.blocked else None

    def allows(self, *names: str) -> bool:
        """Whether something that goes by ``names`` is on the allowlist, or there is none."""
        return self.allowed is None or bool(self._known(names) & self.allowed)

    def unlisted(self, known: Iterable[str]) -> frozenset[str]:
        """The names of the allowlist that are none of ``known``."""
        return frozenset() if self.allowed is None else self.allowed - self._known(known)

    def unmatched(self, known: Iterable[str]) -> tuple[str, ...]:
        """The names of either list that are none of ``known``: most likely misspelt."""
        names = tuple(known)
        return tuple(sorted(self.unlisted(names) | (self.blocked - self._known(names))))

    @staticmethod
    def _known(names: Iterable[str]) -> frozenset[str]:
        return frozenset(map(normal_name, names))
