"""What a hook adds its specs to."""

from __future__ import annotations

from typing import Generic, TypeVar

from distill_core.plugins.specs import MethodSpec, ModelSpec

SpecT = TypeVar("SpecT", ModelSpec, MethodSpec)


class Registry(Generic[SpecT]):
    """Collects the specs of one plugin. Checks what each spec is, so that a mistake is reported at the plugin that made it."""

    def __init__(self, kind: type[SpecT]) -> None:
        self._kind = kind
        self._specs: list[SpecT] = []

    @property
    def specs(self) -> tuple[SpecT, ...]:
        """What was added, in order."""
        return tuple(self._specs)

    def add(self, spec: SpecT) -> None:
        """Add one spec. Raises TypeError for anything else, ValueError for a name that the same plugin has already added."""
        if not isinstance(spec, self._kind):
            raise TypeError(f"registry.add wants a {self._kind.__name__}, got {type(spec).__name__}")
        if any(spec.name == known.name for known in self._specs):
            raise ValueError(f"{spec.name!r} is added twice")
        self._specs.append(spec)
