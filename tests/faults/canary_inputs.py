"""Inputs of a run of the toy world that canaries are planted in: checkpoints, run.yaml, overrides, data, prompts and captions."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

from distill_core.checkpoint import Identity
from distill_core.checkpoint.manifest import recorded
from distill_core.config.document import write_yaml
from tests.core.conftest import CAPTIONS, ToyWorld
from tests.faults.canaries import Canary, fresh
from tests.faults.flip_subjects import STEPS, distill
from tests.faults.flips import here

Plant = Callable[[str, str], None]


class Bomb:
    """Calls something when it is unpickled."""

    def __init__(self, called: Callable[..., Any], *arguments: Any) -> None:
        self.called, self.arguments = called, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.called, self.arguments


BOMBS: dict[str, Callable[[str, str], Bomb]] = {
    "os.system": lambda shell, _: Bomb(os.system, shell),
    "subprocess.call": lambda shell, _: Bomb(subprocess.call, ["sh", "-c", shell]),
    "exec": lambda _, code: Bomb(exec, code),
    "eval": lambda _, code: Bomb(eval, code),
    "timeit": lambda _, code: Bomb(timeit.timeit, code, "pass", timeit.default_timer, 1),
    "shutil.copyfile": lambda shell, _: Bomb(shutil.copyfile, "/etc/hostname", shell.partition(" ")[2]),
    "os.mkdir": lambda shell, _: Bomb(os.mkdir, shell.partition(" ")[2]),
}

HOSTILE_TEXTS = (
    "$(SHELL)",
    "`SHELL`",
    "; SHELL ;",
    "| SHELL",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ CODE }}",
    "{0.__class__.__init__.__globals__}",
    "%(CODE)s",
    "${CODE}",
    "!!python/object/apply:os.system ['SHELL']",
    "<script>CODE</script>",
    "__import__('os').system('SHELL')",
    "-exec SHELL",
)
"""Texts that some shell, template or parser would act on."""

TAGS = (
    "!!python/object/apply:os.system [{shell}]",
    "!!python/object/apply:subprocess.call [[sh, -c, {shell}]]",
    "!!python/object/new:os.system [{shell}]",
    "!!python/object/apply:eval [{code}]",
    "!!python/object/apply:exec [{code}]",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:subprocess.Popen {{args: [sh, -c, {shell}]}}",
    "!!python/tuple [1, 2]",
    "!!python/str a",
    "!!python/none",
    "!!python/long 1",
    "!!python/complex 1j",
    "!!python/bytes aGk=",
    "!!python/object/apply:builtins.eval [{code}]",
    "!!python/object/apply:os.popen [{shell}]",
    "!!python/object/new:type {{}}",
    "!!python/object/apply:importlib.import_module [os]",
    "!!python/object/apply:runpy.run_path [x.py]",
    "!include x.yaml",
    "!env HOME",
    "!ENV ${{HOME}}",
    "!eval {code}",
    "!exec {shell}",
    "!shell {shell}",
    "!cmd {shell}",
    "!import os",
    "!call:os.system {shell}",
    "!new:os.system [{shell}]",
    "!name:os.system",
    "!apply:os.system [{shell}]",
    "!ruby/object:Gem::Requirement {{}}",
    "!!js/function 'x'",
    "!!binary aGk=",
    "!!set {{a}}",
    "!!omap [a: 1]",
    "!!timestamp 2020-01-01",
    "!<tag:yaml.org,2002:python/object/apply:os.system> [{shell}]",
    "!partial:os.system {shell}",
    "!singleton:os.system {shell}",
)


def canaries(root: Path) -> list[Canary]:
    """All of them, below ``root``."""
    world = ToyWorld(root / "toy")
    return [*_checkpoints(world), *_yaml(world), *_data(world), *_texts(world)]


def _run_yaml(world: ToyWorld, **sections: Any) -> Path:
    path = world.root / "run.yaml"
    mapping = world.mapping("finetune", training={"max_train_steps": STEPS}, checkpoint={"interval": 2}, **sections)
    path.write_text(write_yaml(mapping), encoding="utf-8")
    return path


def _checkpoints(world: ToyWorld) -> list[Canary]:
    """Every bomb as an index of a checkpoint, in each protocol of pickle, and as an entry of bytes; hashes fit, as an enemy's would."""
    path = _run_yaml(world)
    here(lambda: distill("run", str(path)))
    kept = fresh(world.root / "run", world.root / "kept")
    run, out = world.root / "run", world.root / "out"
    commands: list[Callable[[], None]] = [
        lambda: distill("run", str(path), "training.max_train_steps=6"),
        lambda: distill("export", str(run), "--output", str(out)),
        lambda: distill("sample", str(run), "--prompt", "red", "--output", str(out)),
        lambda: distill("verify", str(run)),
    ]

    def planting(place: Callable[[Path, bytes], None], bomb: Callable[[str, str], Bomb], protocol: int) -> Plant:
        def plant(shell: str, code: str) -> None:
            shutil.rmtree(out, ignore_errors=True)
            fresh(kept, run)
            for folder in (run / "checkpoints").iterdir():
                place(folder / "dcp", pickle.dumps(bomb(shell, code), protocol))
                recorded(folder, int(folder.name[5:]), "0.1.0", Identity()).write(folder)

        return plant

    cases = [(name, bomb, protocol) for name, bomb in BOMBS.items() for protocol in (0, 2, 4, 5)]
    places = {"index": _as_index, "entry of bytes": _as_bytes}
    return [
        Canary(
            "checkpoint: pickles",
            f"{name} as {place}, protocol {protocol}",
            planting(put, bomb, protocol),
            commands[number % len(commands)],
        )
        for place, put in places.items()
        for number, (name, bomb, protocol) in enumerate(cases)
    ]


def _as_index(dcp: Path, bomb: bytes) -> None:
    (dcp / ".metadata").write_bytes(bomb)


def _as_bytes(dcp: Path, bomb: bytes) -> None:
    """torch would unpickle an entry of bytes without any check."""
    metadata = FileSystemReader(dcp).read_metadata()
    index, place = next(iter(metadata.storage_data.items()))
    metadata.state_dict_metadata[index.fqn] = BytesStorageMetadata()
    metadata.storage_data[MetadataIndex(index.fqn)] = place
    (dcp / place.relative_path).write_bytes(bomb)
    place.offset, place.length = 0, len(bomb)
    (dcp / ".metadata").write_bytes(pickle.dumps(metadata))


def _yaml(world: ToyWorld) -> list[Canary]:
    """Every tag as a value of a run.yaml, and of an override."""
    path, base = world.root / "tagged.yaml", _run_yaml(world).read_text(encoding="utf-8")

    def plant(tag: str) -> Plant:
        return lambda shell, code: _write(path, base.replace("seed: 3", f"seed: {_filled(tag, shell, code)}"))

    def override(tag: str) -> Callable[[], None]:
        return lambda: distill("run", str(_run_yaml(world)), f"training.seed={_filled(tag, 'touch ran', 'open(1)')}")

    tags = [Canary("run.yaml: tags", tag, plant(tag), lambda: distill("run", str(path))) for tag in TAGS]
    return [*tags, *(Canary("overrides: tags", tag, lambda *_: None, override(tag)) for tag in TAGS)]


def _filled(tag: str, shell: str, code: str) -> str:
    return tag.format(shell=json.dumps(shell), code=json.dumps(code))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _data(world: ToyWorld) -> list[Canary]:
    """Pickles and scripts beside a data set, types of Arrow's that are pickles, metadata of pandas."""
    data, kept = world.root / "data", fresh(world.root / "data", world.root / "kept-data")
    path = _run_yaml(world)

    def beside(name: str, content: Callable[[str, str], bytes]) -> Plant:
        def plant(shell: str, code: str) -> None:
            fresh(kept, data)
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content(shell, code))

        return plant

    def in_the_schema(key: bytes) -> Plant:
        def plant(shell: str, code: str) -> None:
            fresh(kept, data)
            bomb = pickle.dumps(Bomb(os.system, shell))
            for file in data.glob("*.parquet"):
                table = pq.read_table(file)
                pickled = {b"ARROW:extension:name": key, b"ARROW:extension:metadata": bomb}
                fields = [field.with_metadata(pickled) if field.name == "id" else field for field in table.schema]
                metadata = {**(table.schema.metadata or {}), b"pandas": bomb, b"pickle": bomb}
                pq.write_table(table.cast(pa.schema(fields)).replace_schema_metadata(metadata), file)

        return plant

    def command() -> None:
        distill("run", str(path), f"output_dir={world.root / 'data-run'}")

    def inspecting() -> None:
        distill("data", "inspect", str(data))

    def pickled(shell: str, _: str) -> bytes:
        return pickle.dumps(Bomb(os.system, shell))

    pickles = ("map_style_cache/file_info.pkl", "index.pkl", "cache.pt", "state.pickle", "data.npy", "dataset.arrow")
    scripts = ("data.py", "dataset.py", "__init__.py", "conftest.py")
    types = ("arrow.py_extension_type", "arrow.opaque", "ray.data.arrow_tensor")
    plants = {
        **{name: beside(name, pickled) for name in pickles},
        **{name: beside(name, lambda _, code: code.encode()) for name in scripts},
        **{name: in_the_schema(name.encode()) for name in types},
    }
    return [
        Canary("data set", f"{name}, {told}", plant, act)
        for name, plant in plants.items()
        for told, act in {"run": command, "inspect": inspecting}.items()
    ]


def _texts(world: ToyWorld) -> list[Canary]:
    """Every hostile text as a caption of the data, a prompt of the validation, a row's name, a prompt of the command line."""
    kept = world.root / "kept-data"

    def filled(shell: str, code: str) -> list[str]:
        return [text.replace("SHELL", shell).replace("CODE", code) for text in HOSTILE_TEXTS]

    def plant(shell: str, code: str) -> None:
        data = fresh(kept, world.root / "data")
        texts = filled(shell, code)
        for file in data.glob("*.parquet"):
            table = pq.read_table(file)
            for column in ("caption", "id", "file_name"):
                if column in table.column_names:
                    hostile = pa.array([texts[row % len(texts)] for row in range(len(table))], pa.string())
                    table = table.set_column(table.column_names.index(column), table.schema.field(column), hostile)
            pq.write_table(table, file)
        sections = {
            "validation": {"interval": 2, "prompts": texts},
            "comparison": {"rows": {text: {"role": "student", "steps": 1} for text in texts}, "prompts": texts[:2]},
            "tracking": {"run_name": texts[0], "project": texts[1]},
        }
        _run_yaml(world, **sections)

    def running() -> None:
        distill("run", str(world.root / "run.yaml"), f"output_dir={world.root / 'text-run'}")

    def sampling() -> None:
        prompts = [part for text in filled("touch ran", "open('ran', 'w')") for part in ("--prompt", text)]
        distill("sample", str(world.root / "student"), *prompts, "--num-frames", "5", "--height", "16", "--width", "16",
                "--output", str(world.root / "texts"))  # fmt: skip

    count = len(HOSTILE_TEXTS)
    return [
        Canary("prompts, captions, names", "in a run", plant, running, 3 * count + len(CAPTIONS) + 2),
        Canary("prompts, captions, names", "on the command line", lambda *_: None, sampling, count),
    ]
