"""From a flat config to a run, by a trainer's table: what is carried over, and a remark at every key that is not the same here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from distill_core.protocols.importer import Beside, Remark, Translation
from distill_core.redaction import redact_mapping
from distill_importers.reading import flat_config
from distill_importers.tables import NOTHING, Config, Key, Trainer, UnlikeError


@dataclass(frozen=True)
class Reader:
    """The :class:`distill_core.protocols.importer.Importer` of one trainer.

    Attributes:
        trainer: its table.
    """

    trainer: Trainer

    def __call__(self, text: str, name: str, beside: Beside) -> Translation | None:
        """A file's run, or None if it is no config of this trainer."""
        flat = flat_config(text, name)
        config = None if flat is None else self.trainer.prepared(flat)
        if config is None or not self.trainer.recognises(config):
            return None
        translation = translation_of(self.trainer, config)
        data = self.trainer.data_file
        if data is None or data.key not in config:
            return translation
        model = translation.run.get("roles", {}).get("student", {}).get("path")
        return replace(translation, remarks=(*translation.remarks, *data.remarks(config, model, beside)))


def translation_of(trainer: Trainer, config: Config) -> Translation:
    """The run that a flat config is here."""
    run: dict[str, Any] = {}
    remarks: list[Remark] = []
    for name, value in config.items():
        if not name.startswith("("):
            remarks += _carried(trainer, name, value, config, run)
    for default in trainer.defaults:
        value = default.of(config)
        if not _has(run, default.ours) and value is not NOTHING:
            _put(run, default.ours, value)
            remarks.append(Remark("", default.ours, default.note))
    return Translation(run, tuple(remarks))


def _carried(trainer: Trainer, name: str, value: Any, config: Config, run: dict[str, Any]) -> list[Remark]:
    """Put one key's value where it belongs; what is to be said of it."""
    shown = redact_mapping({name.rpartition(".")[2]: value})[name.rpartition(".")[2]]
    for key in trainer.keys:
        captured = key.captures(name)
        if captured is not None:
            return _placed(key, key.places(captured), f"{name}: {shown}", value, config, run)
    return [Remark(f"{name}: {shown}", None, f"is not known of {trainer.title} here, and is not carried over")]


def _placed(
    key: Key, places: tuple[str, ...], told: str, value: Any, config: Config, run: dict[str, Any]
) -> list[Remark]:
    if not places:
        return [Remark(told, None, key.note)] if key.matters(value, config) else []
    try:
        here = key.value(value, config)
    except (UnlikeError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, UnlikeError) else f"is not what stands there in {key.theirs}: {error}"
        return [Remark(told, None, reason)]
    for place in places:
        if here is not NOTHING:
            _put(run, place, here)
    if not key.note or not key.matters(value, config):
        return []
    return [Remark(told, None if here is NOTHING else places[0], key.note)]


def _put(run: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        run = run.setdefault(part, {})
    run[last] = value


def _has(run: dict[str, Any], name: str) -> bool:
    found: Any = run
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True
