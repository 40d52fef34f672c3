"""Makes a method's own columns: by roles of the run, batch by batch, into a data set that the run then trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_core.data.encoding.encoder import storable
from distill_core.data.encoding.folder import EncodingFolder
from distill_core.data.encoding.report import Fate, Listener
from distill_core.data.encoding.store import Store
from distill_core.data.encoding.writer import ParquetWriter
from distill_core.data.reading.bad_rows import BadRowError
from distill_core.data.reading.columns import LATENT, CaptionRecord
from distill_core.data.reading.tensors import tensor_columns
from distill_core.errors import DataError, DistillError, MethodError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.plugins.loading import load_target
from distill_core.protocols.batch import Batch
from distill_core.protocols.data import Row
from distill_core.protocols.method import ColumnMaker
from distill_core.running.columns import Item, Making, row_id
from distill_core.running.preparation import Placement
from distill_core.running.roles import RoleBuilder, build_models
from distill_core.training.batches import Batches
from distill_core.training.declared import declared
from distill_core.training.draws import KeyedDraw

ROWS_PER_FILE, FILE_BYTES = 64, 64 << 20
"""A file is cut here: what is not in a whole file is made again if the machine stops, and a row may take minutes."""

Tensors = Mapping[str, Tensor]


def make_columns(
    making: Making, folder: EncodingFolder, placement: Placement, listener: Listener, tell: Callable[[str], None]
) -> tuple[Fate, ...]:
    """Make this shard's rows, as far as the claimed ``folder`` has none of them; models are loaded for the first that it lacks."""
    store = Store(folder.work, making.schema.names)
    maker = _Maker(making, placement, tell)
    fates: list[Fate] = []
    name = f"data{folder.shard.suffix}"
    with ParquetWriter(folder.work, making.schema, ROWS_PER_FILE, name=name, file_bytes=FILE_BYTES) as writer:
        for items in _batches(folder.shard.part(making.items), making.run.config.training.train_batch_size):
            found = list(_of_batch(items, making, store, maker, writer))
            for fate in found:
                listener((fate,))
            fates += found
    return tuple(fates)


def _batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Items of one shape, so many at a time."""
    batch: list[Item] = []
    for item in items:
        if batch and (
            len(batch) == size or batch[0].latent_shape != item.latent_shape or batch[0].number != item.number
        ):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _of_batch(
    items: Sequence[Item], making: Making, store: Store, maker: _Maker, writer: ParquetWriter
) -> Iterator[Fate]:
    """What becomes of a batch's rows: those that are there are kept, those that cannot be read are told, the others are made."""
    wanted: list[tuple[Item, Row, str]] = []
    for item in items:
        try:
            row = making.dataset[item.row]
        except BadRowError as error:
            yield Fate(making.dataset.identities[item.row], encoded=False, reason=error.reason)
            continue
        key = making.key(item, row)
        stored = store.caption(row_id(row.id, item), key)
        if stored is None:
            wanted.append((item, row, key))
        else:
            yield stored.fate()
    if not wanted:
        return
    made = maker([item for item, _, _ in wanted], [row for _, row, _ in wanted])
    for place, (item, row, key) in enumerate(wanted):
        name = row_id(row.id, item)
        try:
            stored_in = {column: storable(tensor[place].cpu(), making.dtype, column) for column, tensor in made.items()}
        except DataError as error:
            yield Fate(name, encoded=False, reason=str(error))
            continue
        writer.add(_record(name, row, key, making, stored_in))
        latent = () if row.latent_CTHW is None else tuple(row.latent_CTHW.shape)
        latent_key = key if making.run.demands.latents else ""
        yield Fate(
            name, encoded=True, latent=latent, text=tuple(row.text_LD.shape), latent_key=latent_key, text_key=key
        )


def _record(name: str, row: Row, key: str, making: Making, made: Tensors) -> dict[str, object]:
    """A row of the new data set."""
    columns: dict[str, object] = CaptionRecord(name, row.caption, row.text_LD, key).columns()
    for column, tensor in {**row.tensors, **made}.items():
        columns |= tensor_columns(column, tensor)
    if row.latent_CTHW is not None:
        space = next(iter(making.run.facts.values())).latent_space
        C, T, H, W = row.latent_CTHW.shape
        frames, height, width = space.pixels((T, C, H, W))
        columns |= tensor_columns(LATENT, row.latent_CTHW)
        columns |= {"file_name": name, "num_frames": frames, "height": height, "width": width, "fps": row.fps}
        columns |= {"media_type": "image" if frames == 1 else "video", "latent_key": key, "start_sec": 0.0}
        columns |= {"duration_sec": None if row.fps is None else frames / row.fps}
    return columns


@dataclass
class _Maker:
    """The method's maker, with its roles, which are loaded when there is something to make."""

    making: Making
    placement: Placement
    tell: Callable[[str], None]
    _loaded: tuple[ColumnMaker, Batches] | None = None

    def __call__(self, items: Sequence[Item], rows: Sequence[Row]) -> Tensors:
        """Each column of these rows, [B, ...]. Raises MethodError for what is none."""
        if self._loaded is None:
            self._loaded = self._load()
        maker, batches = self._loaded
        seed = self.making.run.config.training.seed
        draw = KeyedDraw(seed, 0, items[0].number, tuple(item.row for item in items), self.placement.device, "columns/")
        batch = batches.prepare(rows, items[0].latent_shape)
        with torch.no_grad(), self._border("making columns"):
            made = dict(maker.make(batch, draw))
        self._check(batch, made)
        return made

    def _load(self) -> tuple[ColumnMaker, Batches]:
        run = self.making.run
        models = build_models(run, self.placement)
        shape = self.making.items[0].latent_shape
        roles = RoleBuilder(run, models, self.placement, shape, self.tell).build(run.demands.makers)
        with self._border("making its maker of columns"):
            maker: ColumnMaker = load_target(run.method.makes)(declared(roles, run.needs), run.method_options)
        adapters = {family: model.adapter for family, model in models.items()}
        return maker, Batches(adapters, run.facts[run.lead].latent_space, self.placement.device)

    def _check(self, batch: Batch, made: Tensors) -> None:
        frames, channels, height, width = batch.latent_shape
        wanted = {column.name: column for column in self.making.columns}
        if made.keys() != wanted.keys():
            raise self._fault(f"made {', '.join(made) or 'nothing'}, and its columns are {', '.join(wanted)}")
        for name, tensor in made.items():
            fault = wanted[name].misshape(tensor.shape[1:], (channels, frames, height, width))
            if len(tensor) != batch.size or fault is not None:
                raise self._fault(
                    f"made {name} for {len(tensor)} of {batch.size} rows; {fault or 'one of each is due'}"
                )

    def _fault(self, fault: str) -> MethodError:
        return MethodError(f"method {self.making.run.method.name!r}, making columns, {fault}")

    @contextmanager
    def _border(self, doing: str) -> Iterator[None]:
        try:
            with plugin_border(f"method {self.making.run.method.name!r}, {doing},"):
                yield
        except RefusedError as refusal:
            if isinstance(refusal.__cause__, DistillError):
                raise refusal.__cause__ from None
            raise MethodError(refusal.reason) from refusal
