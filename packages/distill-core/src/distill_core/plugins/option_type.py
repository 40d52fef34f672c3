"""The type of a plugin's options. Imports no torch."""

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import ConfigDict, model_validator

from distill_core.described import Described


class ContradictionsError(ValueError):
    """What of some options does not go together, all of it."""

    def __init__(self, each: Sequence[str]) -> None:
        super().__init__("; ".join(each))
        self.each = tuple(each)


class Options(Described):
    """The base of a plugin's options in run.yaml: frozen, and a key that it does not define is an error.

    The string under a field is its meaning, shown by ``distill plugins show`` and kept in the JSON Schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def contradictions(self) -> Iterator[str]:
        """What does not go together of options that are each right by themselves, a sentence each, with the remedy.

        All are told at once. A class adds its own to those of ``super().contradictions()``; a validator that raises would tell the first.
        """
        return iter(())

    def idle(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Options without effect under the others: why, and which of them. A class adds its own to those of ``super().idle()``."""
        return iter(())

    def left_out(self, steps: int) -> Iterator[str]:
        """What a run of so many training steps ends before though its roles step: a sentence each, with the steps that it takes."""
        return iter(())

    def without_effect(self, at: str) -> Iterator[str]:
        """A sentence for each such option that is set to something else than its default, also of options within these, below ``at``."""
        values = dict(self)
        for why, names in self.idle():
            for name in names:
                default = type(self).model_fields[name].get_default(call_default_factory=True, validated_data=values)
                if values[name] != default:
                    yield f"{at}.{name} has no effect: {why}"
        for name, value in values.items():
            if isinstance(value, Options):
                yield from value.without_effect(f"{at}.{name}")

    @model_validator(mode="after")
    def _tells_all_contradictions(self) -> Self:
        found = tuple(self.contradictions())
        if found:
            raise ContradictionsError(found)
        return self
