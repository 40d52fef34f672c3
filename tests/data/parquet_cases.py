"""One data set as other programs write it: what of it trains, and what is said of the rest. Printed by tools/data_cases.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tests.core.conftest import ToyWorld
from tests.data.cases import Case, Topic, told

from distill_core.data.examining.examine import Against, examine
from distill_core.data.reading.columns import T2V_SCHEMA, ClipRecord
from distill_core.errors import DistillError
from distill_core.testing.toy import encode_caption
from distill_core.testing.toy_spec import inspect as toy_facts

ROWS = 6
SHAPE = (2, 3, 4, 4)
BYTES = ("vae_latent_bytes", "text_embedding_bytes")
SHAPES = ("vae_latent_shape", "text_embedding_shape")
TEXTS = ("id", "caption", "vae_latent_dtype", "text_embedding_dtype")
TRAINS = "trains to the same loss"


def plain() -> pa.Table:
    """Six clips of the toy family, as another trainer writes them: without our own columns and our metadata."""
    generator = torch.Generator().manual_seed(5)
    rows = []
    for number in range(ROWS):
        latent_CTHW = torch.randn(SHAPE, generator=generator) * 2 + 0.5
        caption = f"clip number {number}"
        record = ClipRecord(
            f"{number}", caption, encode_caption(caption), latent_CTHW, f"{number}.mp4", 16, 16, 9, 16.0
        )
        rows.append(record.columns())
    ours = ("start_sec", "changes", "latent_key", "text_key")
    return pa.Table.from_pylist(rows, schema=T2V_SCHEMA).drop_columns(ours).replace_schema_metadata(None)


def put(table: pa.Table, name: str, values: object) -> pa.Table:
    """The table with another column of that name."""
    return table.set_column(table.schema.get_field_index(name), name, values)


def cast(**kinds: pa.DataType) -> pa.Table:
    """The table with columns of other types."""
    table = plain()
    for name, kind in kinds.items():
        table = put(table, name, table.column(name).cast(kind))
    return table


def values(name: str) -> list[object]:
    column: list[object] = plain().column(name).to_pylist()
    return column


def arrays() -> list[np.ndarray]:
    return [np.frombuffer(latent, np.float32) for latent in plain().column("vae_latent_bytes").to_pylist()]


def latents(dtype: str) -> pa.Table:
    """The table with latents of another dtype, which the columns do not say."""
    return put(plain(), "vae_latent_bytes", pa.array([each.astype(dtype).tobytes() for each in arrays()]))


def doubled(name: str) -> pa.Table:
    return plain().append_column(name, pa.array(["other"] * ROWS))


def nested() -> pa.Table:
    parts = [f"vae_latent_{part}" for part in ("bytes", "shape", "dtype")]
    struct = pa.StructArray.from_arrays([plain().column(name).chunk(0) for name in parts], ["bytes", "shape", "dtype"])
    return plain().drop_columns(parts).append_column("vae_latent", struct)


def padded() -> pa.Table:
    texts = [
        np.frombuffer(text, np.float32).reshape(-1, 4) for text in plain().column("text_embedding_bytes").to_pylist()
    ]
    full = [np.pad(text, ((0, 8 - len(text)), (0, 0))) for text in texts]
    table = put(plain(), "text_embedding_bytes", pa.array([text.tobytes() for text in full]))
    return put(table, "text_embedding_shape", pa.array([[8, 4]] * ROWS))


def normalised() -> pa.Table:
    return put(plain(), "vae_latent_bytes", pa.array([((each - 0.5) / 2).tobytes() for each in arrays()]))


def in_one_file(table: Callable[[], pa.Table], name: str = "data.parquet", **options: object) -> Callable[[Path], None]:
    """What writes a table into a folder."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(), folder / name, **options)

    return write


def spark(folder: Path) -> None:
    in_one_file(plain, "data.parquet/part-00000-abc.snappy.parquet")(folder)
    (folder / "data.parquet" / "_SUCCESS").touch()
    (folder / "data.parquet" / ".part-00000-abc.snappy.parquet.crc").write_bytes(b"x")


def beside(table: Callable[[], pa.Table]) -> Callable[[Path], None]:
    """What writes the plain table, and another one beside it."""

    def write(folder: Path) -> None:
        in_one_file(plain)(folder)
        in_one_file(table, "other.parquet")(folder)

    return write


def without_types() -> pa.Table:
    return pa.table({"id": pa.array([], pa.null())})


def cut_off(folder: Path) -> None:
    in_one_file(plain)(folder)
    (folder / "other.parquet").touch()


def linked(folder: Path) -> None:
    in_one_file(plain)(folder.with_name(f"{folder.name}-elsewhere"))
    folder.mkdir()
    (folder / "more").symlink_to(folder.with_name(f"{folder.name}-elsewhere"))
    (folder / "circle").symlink_to(folder)


def stretched() -> pa.Table:
    """A caption that takes no room in the file and a lot of memory."""
    return put(plain(), "caption", pa.array(["x" * (40 << 20), *["y"] * (ROWS - 1)]))


def blown_up() -> pa.Table:
    """A latent of millions of zeros whose shape makes 96 of them."""
    return put(plain(), "vae_latent_bytes", pa.array([bytes(17 << 20), *values("vae_latent_bytes")[1:]]))


CASES = (
    Case("plain", in_one_file(plain), TRAINS),
    Case("zstd", in_one_file(plain, compression="zstd"), TRAINS),
    Case("gzip, dictionaries", in_one_file(plain, compression="gzip", use_dictionary=True), TRAINS),
    Case("a row group a row", in_one_file(plain, row_group_size=1), TRAINS),
    Case("no statistics", in_one_file(plain, write_statistics=False), TRAINS),
    Case(
        "large types",
        in_one_file(
            lambda: cast(
                **dict.fromkeys(BYTES, pa.large_binary()),
                **dict.fromkeys(TEXTS, pa.large_string()),
                **dict.fromkeys(SHAPES, pa.large_list(pa.int64())),
            )
        ),
        TRAINS,
    ),
    Case(
        "views",
        in_one_file(lambda: cast(**dict.fromkeys(BYTES, pa.binary_view()), **dict.fromkeys(TEXTS, pa.string_view()))),
        TRAINS,
    ),
    Case(
        "dictionary columns",
        in_one_file(lambda: cast(**dict.fromkeys(TEXTS, pa.dictionary(pa.int32(), pa.string())))),
        TRAINS,
    ),
    Case("shapes of int32", in_one_file(lambda: cast(**dict.fromkeys(SHAPES, pa.list_(pa.int32())))), TRAINS),
    Case("shapes of fixed length", in_one_file(lambda: cast(vae_latent_shape=pa.list_(pa.int64(), 4))), TRAINS),
    Case("bytes of fixed length", in_one_file(lambda: cast(vae_latent_bytes=pa.binary(4 * 96))), TRAINS),
    Case("ids that are numbers", in_one_file(lambda: put(plain(), "id", pa.array(range(ROWS)))), TRAINS),
    Case(
        "dtypes as torch names them",
        in_one_file(lambda: put(plain(), "vae_latent_dtype", pa.array(["torch.float32"] * ROWS))),
        TRAINS,
    ),
    Case(
        "dtypes as numpy shortens them",
        in_one_file(lambda: put(plain(), "vae_latent_dtype", pa.array(["<f4"] * ROWS))),
        TRAINS,
    ),
    Case("text stored with its padding", in_one_file(padded), "trains"),
    Case(
        "further columns", in_one_file(lambda: plain().append_column("x", pa.array([None] * ROWS, pa.null()))), TRAINS
    ),
    Case(
        "a column less that training does not need", in_one_file(lambda: plain().drop_columns(["media_type"])), TRAINS
    ),
    Case("folders key=value", in_one_file(plain, "media_type=video/part-0.parquet"), TRAINS),
    Case("a folder of Spark", spark, TRAINS),
    Case("DATA.PARQUET", in_one_file(plain, "DATA.PARQUET"), TRAINS),
    Case("data.pq", in_one_file(plain, "data.pq"), TRAINS),
    Case("a linked folder, and a circle", linked, TRAINS),
    Case("a file without rows beside", beside(lambda: plain().slice(0, 0)), TRAINS),
    Case("a file without rows or types beside", beside(without_types), TRAINS),
    Case(
        "ids that are not unique",
        in_one_file(lambda: put(plain(), "id", pa.array(["same"] * ROWS))),
        f"{TRAINS}; note: ids are not unique: 6 rows are called 'same'",
    ),
    Case(
        "latents that are normalised already",
        in_one_file(normalised),
        r"^trains; note: the latents of .* look normalised already, .*; training normalises them again",
    ),
    Case(
        "bytes as lists of uint8",
        in_one_file(
            lambda: put(
                plain(), "vae_latent_bytes", pa.array([list(each.tobytes()) for each in arrays()], pa.list_(pa.uint8()))
            )
        ),
        r"data\.parquet:0: vae_latent_bytes is list<.*uint8>, in every row; bytes are due, such as binary",
    ),
    Case(
        "shapes of floats",
        in_one_file(lambda: cast(vae_latent_shape=pa.list_(pa.float64()))),
        r"data\.parquet:0: vae_latent_shape is list<.*double>, in every row; a list of whole numbers is due",
    ),
    Case(
        "shapes as text",
        in_one_file(lambda: put(plain(), "vae_latent_shape", pa.array([str(list(SHAPE))] * ROWS))),
        r"data\.parquet:0: vae_latent_shape is string, in every row; a list of whole numbers is due",
    ),
    Case(
        "captions as bytes",
        in_one_file(lambda: cast(caption=pa.binary())),
        r"data\.parquet:0: caption is binary, in every row; text is due, such as string",
    ),
    Case(
        "captions as lists",
        in_one_file(lambda: put(plain(), "caption", pa.array([[text, "another"] for text in values("caption")]))),
        r"data\.parquet:0: caption is list<.*string>, in every row; text is due, such as string",
    ),
    Case(
        "two columns of one name",
        in_one_file(lambda: doubled("caption")),
        r"data\.parquet:0: 2 columns are called caption, in every row; drop all but one",
    ),
    Case(
        "a caption that is null",
        in_one_file(lambda: put(plain(), "caption", pa.array([*values("caption")[:3], None, *values("caption")[4:]]))),
        r"data\.parquet:3: caption is null",
    ),
    Case(
        "no ids",
        in_one_file(lambda: plain().drop_columns(["id"])),
        r"data\.parquet:? lacks id, .*\(there are: vae_latent",
    ),
    Case(
        "an unknown dtype",
        in_one_file(lambda: put(plain(), "vae_latent_dtype", pa.array(["int8"] * ROWS))),
        r"data\.parquet:0: vae_latent has the dtype 'int8'; known are float16",
    ),
    Case(
        "float16 that is called float32",
        in_one_file(lambda: latents("<f2")),
        r"data\.parquet:0: vae_latent has 192 bytes; its shape \[2, 3, 4, 4\] in float32 makes 384",
    ),
    Case(
        "big-endian bytes",
        in_one_file(lambda: latents(">f4")),
        r"data\.parquet:0: vae_latent holds (values beyond 2\^24; are its bytes float32, and little-endian|NaN)",
    ),
    Case(
        "latents of five dimensions",
        in_one_file(lambda: put(plain(), "vae_latent_shape", pa.array([[1, *SHAPE]] * ROWS))),
        r"data\.parquet:0: vae_latent has the shape \[1, 2, 3, 4, 4\]; 4 positive sizes are due, \[C, T, H, W\]",
    ),
    Case(
        "time before channels",
        in_one_file(lambda: put(plain(), "vae_latent_shape", pa.array([[3, 2, 4, 4]] * ROWS))),
        r"3 channels, the model's latents have 2; are they stored as \[T, C, H, W\]\?",
    ),
    Case(
        "text of no tokens",
        in_one_file(
            lambda: put(
                put(plain(), "text_embedding_bytes", pa.array([b""] * ROWS)),
                "text_embedding_shape",
                pa.array([[0, 4]] * ROWS),
            )
        ),
        r"data\.parquet:0: text_embedding has the shape \[0, 4\]; 2 positive sizes are due",
    ),
    Case("a latent in one nested column", in_one_file(nested), r"data\.parquet:? .*captions (only|alone)|is not read"),
    Case(
        "a file of captions among files of clips",
        beside(lambda: plain().drop_columns([name for name in plain().column_names if name.startswith("vae")])),
        r"other\.parquet holds captions (only|without latents)",
    ),
    Case("a file of no bytes beside", cut_off, r"other\.parquet:? is no parquet file or is damaged"),
    Case(
        "a caption of a gigabyte in a small file",
        in_one_file(stretched, compression="zstd"),
        r"data\.parquet:? has [\d,]+ bytes, which make 4[\d,]+ when they are decompressed",
    ),
    Case(
        "a latent of more bytes than its shape",
        in_one_file(blown_up, compression="zstd"),
        r"data\.parquet:0: its row group makes [\d,]+ bytes, its shapes and captions at most [\d,]+",
    ),
)


def outcome(case: Case, root: Path) -> str:
    """What a run says of the data, and what `distill data validate` adds to that."""
    world = ToyWorld(root)
    case.make(root / "given")
    said = [trained(world, root / "given")]
    found = examine(root / "given", Against(toy_facts(str(root / "student")), "toy", "student"), lambda _: None)
    if bool(found.faults) == said[0].startswith("trains"):
        said += [f"validate: {fault}" for fault in found.faults[:1]]
    said += [f"note: {note}" for note in found.notes]
    return told("; ".join(said), root / "given", root)


def trained(world: ToyWorld, folder: Path) -> str:
    """What becomes of a run on the data."""
    try:
        return TRAINS if loss_of(world, folder) == plain_loss() else "trains"
    except DistillError as error:
        return str(error).split("data.path: ", 1)[-1]


def loss_of(world: ToyWorld, folder: Path) -> float:
    """The loss of the first step."""
    sections = {"data": {"path": str(folder)}, "training": {"max_train_steps": 1}, "tracking": {"log_interval": 1}}
    directory = world.train(world.mapping("finetune", **sections))
    return float(json.loads(directory.metrics.read_text().splitlines()[0])["loss"])


@cache
def plain_loss() -> float:
    """The loss on data as we would read our own."""
    with TemporaryDirectory() as root:
        in_one_file(plain)(Path(root) / "plain")
        return loss_of(ToyWorld(Path(root)), Path(root) / "plain")


TOPIC = Topic("Training data that other programs wrote", CASES, outcome)
