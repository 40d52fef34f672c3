"""What a method's own columns are to be made of, and with: settled, and compared with what is there, before any weight is loaded.

Knows no method: what a column is, its spec says. :mod:`distill_core.running.making` makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import torch

from distill_core.config.checks import family_of
from distill_core.config.data_sets import hub_data
from distill_core.config.resolve import ResolvedRun
from distill_core.data.encoding.encoder_keys import EncoderKeys, encoder_keys
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.keys import digest, hash_file
from distill_core.data.reading.columns import T2V_SCHEMA, TEXT_ONLY_SCHEMA, with_columns
from distill_core.data.reading.dataset import ParquetDataset, open_dataset
from distill_core.data.reading.files import read_facts
from distill_core.data.reading.hub_data import fetched
from distill_core.data.reading.made_with import LATENT_SHAPE, as_metadata
from distill_core.data.reading.mixture import Mixture, Part
from distill_core.data.reading.order import LatentShape
from distill_core.data.reading.origin import Origin
from distill_core.data.reading.plan import DataPlan, plan_data
from distill_core.data.reading.tensors import DTYPES
from distill_core.errors import ConfigError, Problem, RunDirectoryError
from distill_core.plugins.columns import Column
from distill_core.plugins.specs import ModelFacts
from distill_core.protocols.data import Row
from distill_core.running.preparation import Placement

_SNAPSHOT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Item:
    """One row to make.

    Attributes:
        row: the place of the row in the source that it is made of.
        number: which of those that are made of this row, from 0.
        latent_shape: [T, C, H, W] of its samples.
    """

    row: int
    number: int
    latent_shape: LatentShape


@dataclass(frozen=True)
class Making:
    """What is to be made.

    Attributes:
        run: the run whose method wants the columns.
        dataset: the source.
        items: the rows to make, those that make a batch with each other side by side.
        origin: what the new data set records of its making.
        columns: the columns, with all that they are made with.
        dtype: what they are stored in.
    """

    run: ResolvedRun
    dataset: ParquetDataset
    items: tuple[Item, ...]
    origin: Origin
    columns: tuple[Column, ...]
    dtype: torch.dtype

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the new data set: with latents, if the method reads them."""
        known = T2V_SCHEMA if self.run.demands.latents else TEXT_ONLY_SCHEMA
        metadata = {**self.origin.metadata(), **as_metadata(self.columns)}
        return with_columns(known, (*self.dataset.declared, *self.columns)).with_metadata(metadata)

    def names(self) -> list[str]:
        """The ids of the rows to make, of all shards."""
        return [row_id(self.dataset.identities[item.row], item) for item in self.items]

    def key(self, item: Item, row: Row) -> str:
        """What a made row is found by: a hash of all that it follows from."""
        content = blake2b(digest_size=16)
        for tensor in (row.text_LD, row.latent_CTHW, *row.tensors.values()):
            if tensor is not None:
                content.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        settings = json.dumps(self.origin.settings, sort_keys=True)
        return digest("columns", settings, item.row, item.number, row.id, row.caption, content.hexdigest())


def row_id(source: str, item: Item) -> str:
    """The id of a made row: that of its source, and which of several it is."""
    return source if item.number == 0 else f"{source}#{item.number + 1}"


def output_of(run: ResolvedRun) -> Path:
    """Where the run expects its data. Raises ConfigError where none can be made."""
    data = run.config.data
    if data.mix:
        raise _refusal(run, "data.mix", "columns are made for one data set at a time; leave this out meanwhile")
    if hub_data(data.path) is not None or data.path.endswith(".parquet"):
        raise _refusal(
            run, "data.path", f"the data set is made where this says, and {data.path} is no folder here; name one"
        )
    return Path(data.path)


def settle(run: ResolvedRun, source: str, dtype: str, per_row: int, placement: Placement) -> Making:
    """What is to be made of a source. Raises a DistillError for a run that makes nothing, or a source that it cannot be made of."""
    _check_makers(run)
    family = next(iter(run.facts.values())).columns
    dataset = open_dataset(fetched(source), run.demands.latents, family)
    plan = plan_data(Mixture([Part(dataset)]), run.facts.values(), run.config.data)
    made = {column.name for column in run.demands.made_columns}
    columns = tuple(column for column in run.columns if column.name in made)
    if not run.demands.latents:
        columns = tuple(
            replace(column, made_with={**(column.made_with or {}), LATENT_SHAPE: list(plan.latent_shape)})
            for column in columns
        )
    settings = {
        "kind": "made columns",
        "dtype": dtype,
        "precision": placement.settings()["precision"],
        "seed": run.config.training.seed,
        "per_row": per_row,
        **{f"{column.name}.{key}": value for column in columns for key, value in (column.made_with or {}).items()},
        **{f"weights of role {role}": _hash_folder(run.facts[role]) for role in run.demands.makers},
    }
    items = tuple(item for number in range(per_row) for item in _items(plan, number))
    return Making(run, dataset, items, _origin(run, dataset, settings), columns, DTYPES[dtype])


def refuse_other_settings(folder: EncodingFolder, origin: Origin) -> None:
    """Raise RunDirectoryError if what was left half made was made with other settings."""
    for path in sorted(folder.work.glob("*.parquet")):
        before = Origin.of(read_facts(path, folder.work).metadata)
        told = "nothing is recorded" if before is None else origin.difference(before)
        if told:
            raise RunDirectoryError(
                f"{folder.work}, what an earlier command left of {folder.output}, was made with other settings ({told}); go on with those, "
                "or begin anew with --overwrite"
            )


def _check_makers(run: ResolvedRun) -> None:
    """Raise ConfigError if the method makes no columns under these options, or a role that makes them is not named."""
    if not run.demands.made_columns or not run.method.makes:
        name = run.method.name
        raise _refusal(
            run,
            "method_config",
            f"method {name!r} trains on no columns of its own making under this method_config; see `distill plugins show {name}`",
        )
    for role in run.demands.makers:
        if role not in run.facts:
            raise _refusal(
                run,
                f"roles.{role}",
                f"this role makes the columns {', '.join(column.name for column in run.demands.made_columns)}; name it here, or on the "
                f"command line: roles.{role}.path=FOLDER roles.{role}.trainable=false",
            )


def _refusal(run: ResolvedRun, key: str, message: str) -> ConfigError:
    return ConfigError([Problem(key, message)], str(run.loaded.path))


def _items(plan: DataPlan, number: int) -> Iterator[Item]:
    for bucket in plan.buckets:
        yield from (Item(int(row), number, bucket.latent_shape) for row in bucket.rows)


def _origin(run: ResolvedRun, dataset: ParquetDataset, settings: dict[str, object]) -> Origin:
    """What is recorded: the encoders that the source records, or else those of the run's first role."""
    plain = json.loads(json.dumps(settings))
    facts = run.facts[run.lead]
    unused = "" if run.demands.latents else facts.autoencoder
    first, *others = [Origin.of(file.metadata) for file in dataset.files]
    if first is not None and all(each is not None and _same_encoders(first, each) for each in others):
        origin = replace(first, settings=plain)
    else:
        keys, family = encoder_keys(facts, without=unused), family_of(run.config, run.lead)
        origin = Origin(family, str(facts.path), keys.whole, plain, facts.text_length, keys.parts)
    rested_on = EncoderKeys(origin.encoders, origin.parts).without(unused)
    return replace(origin, encoders=rested_on.whole, parts=rested_on.parts)


def _same_encoders(one: Origin, other: Origin) -> bool:
    return not one.difference(replace(other, settings=one.settings))


def _hash_folder(facts: ModelFacts) -> str:
    """A hash of a model's folder but for its encoders; a snapshot of the Hub is known by its commit."""
    if facts.path.parent.name == "snapshots" and _SNAPSHOT.fullmatch(facts.path.name):
        return facts.path.name
    files = sorted(path.relative_to(facts.path) for path in facts.path.rglob("*") if path.is_file())
    own = [file for file in files if file.parts[0] not in facts.encoders and not file.name.startswith(".")]
    return digest(*(f"{file.as_posix()} {hash_file(facts.path / file)}" for file in own))
