"""Single values straight out of a parquet file that lie in it as they are: bytes neither compressed nor told by a dictionary.

Arrow reads whole row groups; of one with eight rows that is eight times what one row needs. Knows column chunks of one page in the layout
of version 1, as :func:`distill_core.data.encoding.writer.open_writer` and most others without compression write them. Of anything else it
says None, and Arrow reads it, or says what is the matter with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from zlib_ng.zlib_ng import crc32

HEADER_BYTES = 256
"""What a page's header takes at most, statistics of long values left out."""
PIECE = 1 << 20
"""What is read at once to be compared with a checksum: it stays in the processor's cache."""
ALIGNMENT = 64
"""That of a value in memory, as Arrow's own."""
LENGTH_BYTES = 4
BOOLEANS, INTEGERS, BINARY, STRUCT = (1, 2), (5, 6), 8, 12
"""Types of Thrift's compact protocol."""
DATA_PAGE, PLAIN = 0, 0
"""Numbers of the format's."""
_FIELDS = {(1,): "kind", (2,): "size", (3,): "stored", (4,): "crc", (5, 1): "values", (5, 2): "encoding"}


@dataclass(frozen=True)
class Chunk:
    """Where a column of a row group lies.

    Attributes:
        start: the byte that it begins at, its page's header.
        size: its bytes.
        optional: whether its values may be null.
    """

    start: int
    size: int
    optional: bool


@dataclass(frozen=True)
class Page:
    """Where the values of a column of a row group lie; none is null.

    Attributes:
        ends: for each value the byte of the file that it ends before.
        start: the byte that the first value's length stands at.
    """

    ends: tuple[int, ...]
    start: int

    def span(self, place: int) -> tuple[int, int]:
        """The first byte of a value, and how many it has."""
        start = (self.ends[place - 1] if place else self.start) + LENGTH_BYTES
        return start, self.ends[place] - start


@dataclass(frozen=True)
class _Header:
    """A page's header.

    Attributes:
        bytes: how many bytes it takes.
        size: how many the page takes.
        crc: its checksum, where it has one.
    """

    bytes: int
    size: int
    crc: int | None


def chunk_of(footer: pq.FileMetaData, group: int, column: int) -> Chunk | None:
    """Where a column of bytes lies in a row group, or None if its values are not there as they are."""
    found, kind = footer.row_group(group).column(column), footer.schema.column(column)
    plain = found.physical_type == "BYTE_ARRAY" and found.compression == "UNCOMPRESSED"
    flat = kind.max_repetition_level == 0 and kind.max_definition_level <= 1
    if not (plain and flat) or found.has_dictionary_page or set(found.encodings) - {"PLAIN", "RLE", "BIT_PACKED"}:
        return None
    return Chunk(found.data_page_offset, found.total_compressed_size, kind.max_definition_level == 1)


def find_page(file: pa.NativeFile, chunk: Chunk, rows: int, *, verify: bool) -> Page | None:
    """Where the values of a chunk of so many rows lie; None for what is not known here, and with ``verify`` for another checksum."""
    header = _header(_part(file, chunk.start, HEADER_BYTES), rows)
    if header is None or header.bytes + header.size != chunk.size:
        return None
    body = chunk.start + header.bytes
    if verify and header.crc is not None and _checksum(file, body, header.size) != header.crc:
        return None
    levels = _levels(rows) if chunk.optional else (b"",)
    found = _part(file, body, max(map(len, levels)))
    lead = next((level for level in levels if found.startswith(level)), None)
    if lead is None:
        return None
    start, end = body + len(lead), body + header.size
    ends = tuple(_ends(file, start, end, rows))
    return Page(ends, start) if len(ends) == rows and ends[-1] == end else None


def read_value(file: pa.NativeFile, page: Page, place: int) -> pa.Buffer | None:
    """The bytes of a value, in memory that holds nothing else and may be written to; None if the file is too short for it."""
    start, size = page.span(place)
    memory = pa.allocate_buffer(size)
    file.seek(start)
    return memory if file.readinto(memory) == size else None


def read_only_value(file: pa.NativeFile, chunk: Chunk) -> pa.Buffer | None:
    """The bytes of the only value of a chunk, as :func:`read_value`, read once to be compared with the checksum and to be kept."""
    header = _header(_part(file, chunk.start, HEADER_BYTES), 1)
    if header is None or header.bytes + header.size != chunk.size:
        return None
    leads = _levels(1) if chunk.optional else (b"",)
    lead = len(leads[0]) + LENGTH_BYTES
    first = -lead % ALIGNMENT
    body = np.frombuffer(pa.allocate_buffer(first + header.size), np.uint8)[first:]
    file.seek(chunk.start + header.bytes)
    whole = file.readinto(body) == header.size and (header.crc is None or crc32(body.data) == header.crc)
    length = max(header.size - lead, 0).to_bytes(LENGTH_BYTES, "little")
    if not whole or body[:lead].tobytes() not in [level + length for level in leads]:
        return None
    return pa.py_buffer(body[lead:])


def _part(file: pa.NativeFile, start: int, size: int) -> bytes:
    """Some bytes of a file, fewer where it ends."""
    file.seek(start)
    found: bytes = file.read(size)
    return found


def _checksum(file: pa.NativeFile, start: int, size: int) -> int:
    """The CRC-32 of a part of a file."""
    found, piece = 0, memoryview(bytearray(min(PIECE, size)))
    file.seek(start)
    for left in range(size, 0, -PIECE):
        part = piece[:left]
        found = crc32(part[: file.readinto(part)], found)
    return found


def _ends(file: pa.NativeFile, start: int, end: int, rows: int) -> Iterator[int]:
    """Where each value ends, as far as they are within the page: each has its length before it."""
    near, first = b"", start
    for _ in range(rows):
        if start + LENGTH_BYTES > end:
            return
        if not first <= start <= first + len(near) - LENGTH_BYTES:
            near, first = _part(file, start, min(end - start, HEADER_BYTES * rows)), start
        length = int.from_bytes(near[start - first : start - first + LENGTH_BYTES], "little")
        start += LENGTH_BYTES + length
        yield start


def _levels(rows: int) -> tuple[bytes, ...]:
    """How a page says that none of so many values is null: as a run of ones, or as bits."""
    run = _varint(rows << 1) + b"\x01"
    groups = -(-rows // 8)
    bits = _varint(groups << 1 | 1) + np.packbits(np.ones(rows, np.uint8), bitorder="little").tobytes()
    return tuple(len(level).to_bytes(LENGTH_BYTES, "little") + level for level in (run, bits))


def _varint(number: int) -> bytes:
    """A number of Thrift's, and of the format's runs: seven bits a byte, the least first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _header(content: bytes, rows: int) -> _Header | None:
    """What stands in the header of a page of plain values, one for each of so many rows; None for any other."""
    try:
        fields, end = _fields(content)
    except (IndexError, KeyError):
        return None
    known = fields.get("kind") == DATA_PAGE and fields.get("encoding") == PLAIN and fields.get("values") == rows
    size = fields.get("stored", -1)
    if not known or size < 0 or size != fields.get("size"):
        return None
    return _Header(end, size, None if (crc := fields.get("crc")) is None else crc & 0xFFFFFFFF)


def _fields(content: bytes) -> tuple[dict[str, int], int]:
    """The fields of a header that count, and where it ends. Raises KeyError for a type that is in no header, IndexError for one cut off."""
    fields: dict[str, int] = {}
    path: list[int] = [0]
    at = 0
    while path:
        kind, step = content[at] & 0xF, content[at] >> 4
        at += 1
        if kind == 0:
            path.pop()
            continue
        if step == 0:
            raise KeyError("a field far from the one before it")
        path[-1] += step
        if kind == STRUCT:
            path.append(0)
        elif kind in INTEGERS:
            value, at = _read_varint(content, at)
            if tuple(path) in _FIELDS:
                fields[_FIELDS[tuple(path)]] = value >> 1 ^ -(value & 1)
        elif kind == BINARY:
            length, at = _read_varint(content, at)
            at += length
        elif kind not in BOOLEANS:
            raise KeyError(kind)
    return fields, at


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while content[at] & 0x80:
        value |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | content[at] << shift, at + 1
