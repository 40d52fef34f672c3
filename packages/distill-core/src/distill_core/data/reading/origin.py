"""What a data set was made with, as its files record it beside their schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter, ValidationError

METADATA_KEY = b"distill"


@dataclass(frozen=True)
class Origin:
    """The command that made a data set.

    Attributes:
        family: the model plugin's name.
        model: the pipeline folder or hub id, as it was given.
        encoders: the key of those of the model's encoders that its rows rest on, see :mod:`distill_core.data.encoding.encoder_keys`.
        settings: what rows were made into, by the names of the command's options.
        text_length: the tokens that captions were cut at: as many as the model attends, padding included. None where that was not recorded.
        parts: the keys of each of these encoders, by name; empty where they are not told apart.
    """

    family: str
    model: str
    encoders: str
    settings: Mapping[str, object] = field(default_factory=dict)
    text_length: int | None = None
    parts: Mapping[str, str] = field(default_factory=dict)

    def metadata(self) -> dict[bytes, bytes]:
        """As metadata of a parquet schema."""
        return {METADATA_KEY: json.dumps(asdict(self), ensure_ascii=False).encode()}

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes]) -> Origin | None:
        """From the metadata of a parquet schema; None if another program wrote it, or something else under our name."""
        recorded = metadata.get(METADATA_KEY)
        try:
            return None if recorded is None else _ORIGIN.validate_json(recorded)
        except ValidationError:
            return None

    def difference(self, other: Origin) -> str:
        """In what the data of another origin, there, differ from those of this one, here, in words; "" if they do not.

        Where the model lies makes no difference.
        """
        here, there = (
            {"encoders": origin.encoders, "text_length": origin.text_length, **origin.settings}
            for origin in (self, other)
        )
        changed = [name for name in (*here, *(there.keys() - here.keys())) if here.get(name) != there.get(name)]
        shown = (
            f"the model's {self._others(other)}"
            if name == "encoders"
            else f"{name}: {there.get(name)} there, {here.get(name)} here"
            for name in changed
        )
        return "; ".join(shown)

    def _others(self, other: Origin) -> str:
        """Those encoders that are not the other's, by name where both record them."""
        if not (self.parts and other.parts):
            return "encoders"
        names = sorted({*self.parts, *other.parts})
        return " and ".join(name for name in names if self.parts.get(name) != other.parts.get(name))


_ORIGIN = TypeAdapter(Origin)
