"""What a run rests on: hashed and listed, so that a resumed run can be compared with the one it goes on from. Decides nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distill_core.checkpoint import Consent, Identity
from distill_core.config.checks import family_of
from distill_core.config.resolve import ResolvedRun
from distill_core.config.suggest import closest
from distill_core.errors import ConfigError, Problem
from distill_core.plugins.index import NOWHERE
from distill_core.plugins.specs import ModelFacts
from distill_core.redaction import redact_mapping
from distill_core.running.content import ContentHashes
from distill_core.running.continuation import binding, left_to_the_machine
from distill_core.running.preparation import Prepared
from distill_core.running.resuming import LATER
from distill_core.running.run_directory import LOSSES
from distill_core.training.quantized import held_tensors
from distill_core.training.roles import RoleHandle

DATA = "data"
"""The name of the data's content, among what a run rests on."""
_SNAPSHOT = re.compile(r"[0-9a-f]{40}")
_THREADS = 8


def identity_of(
    prepared: Prepared,
    frozen: Mapping[str, str | None],
    plugins: Sequence[Mapping[str, str]],
    content: ContentHashes,
) -> Identity:
    """What the run rests on. ``frozen``: by role, the :func:`frozen_hash` of its weights; ``plugins``: the rows of the installed ones."""
    run = prepared.run
    rests_on = {DATA: f"sha256:{data_hash(prepared, content)}", "torch": torch.__version__.partition("+")[0]}
    for name, facts in run.facts.items():
        rests_on |= role_identity(name, facts, content, frozen[name])
        family = f"encoders.{family_of(run.config, name)}"
        if family not in rests_on:
            rests_on[family] = _folder_hash(facts, _encoders(facts), content)
    for row in used_plugins(run, plugins):
        rests_on[f"plugins.{row['name']}"] = f"{row['package']} {row['version']}"
    return Identity(rests_on=rests_on, settings=redact_mapping(binding(run.to_mapping())))


def used_plugins(run: ResolvedRun, plugins: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The rows of the installed packages that have the run's families and method."""
    used = {("model", name) for name in run.models} | {("method", run.method.name)}
    return [
        row
        for row in plugins
        if (row["kind"], row["name"]) in used and row["status"] == "ok" and row["package"] != NOWHERE
    ]


def role_identity(role: str, facts: ModelFacts, content: ContentHashes, frozen: str | None) -> dict[str, str]:
    """What a role rests on, by name: what its folder says, and the weights of it that no checkpoint holds."""
    found = {f"model.{role}": _folder_hash(facts, _descriptions(facts.path), content)}
    return found if frozen is None else {**found, f"weights.{role}": frozen}


def consent_of(prepared: Prepared) -> Consent:
    """What the run.yaml lets be other than it was. Raises ConfigError for names of nothing that a run rests on."""
    run, settings = prepared.run, prepared.run.config.checkpoint
    known = ["data", "torch", *LOSSES, LATER, f"plugins.{run.method.name}"]
    known += [f"{kind}.{role}" for role in run.facts for kind in ("weights", "model")]
    known += [f"{kind}.{family}" for family in run.models for kind in ("encoders", "plugins")]
    problems = []
    for name in settings.accept:
        if name not in known:
            meant = closest(name, known)
            remedy = f"it has {', '.join(known)}" if meant is None else f"did you mean `{meant}`?"
            problems.append(Problem("checkpoint.accept", f"the run rests on nothing called {name!r}; {remedy}"))
    if problems:
        raise ConfigError(problems)
    return Consent(frozenset(settings.accept), settings.resume == "changed", left_to_the_machine(prepared.asked()))


def data_hash(prepared: Prepared, content: ContentHashes) -> str:
    """A hash of the content of all parquet files, by their names inside their data sets."""
    files = [(file.name, file.path) for part in prepared.dataset.parts for file in part.dataset.files]
    return content.of_all(files)


Known = dict[tuple[nn.Module, str], tuple["TensorHash", ...]]
"""Hashes of the tensors of roles' modules, by name: weights that several roles share are read once, and before they are spread."""


@dataclass(frozen=True)
class TensorHash:
    """What is known of a tensor, or of one that it consists of.

    Attributes:
        shape: its shape.
        dtype: its dtype, by torch's name.
        sha256: of its bytes.
    """

    shape: tuple[int, ...]
    dtype: str
    sha256: str


def frozen_hash(role: RoleHandle, known: Known | None = None) -> str | None:
    """``DTYPES:HASH`` of the tensors that no checkpoint holds: those of a role which training leaves alone; None if it leaves none."""
    frozen = role.frozen_tensors()
    if not frozen:
        return None
    memory: Known = {} if known is None else known
    modules = role.container.state_dict().keys()
    learn(role.container, {name: tensor for name, tensor in frozen.items() if name in modules}, memory)
    beside = hashes_of({name: tensor for name, tensor in frozen.items() if name not in modules})
    found = {name: memory[role.container, name] if name in modules else beside[name] for name in frozen}
    lines = [f"{name} {list(each.shape)} {each.sha256}\n" for name, parts in found.items() for each in parts]
    dtypes = "+".join(sorted({each.dtype for parts in found.values() for each in parts}))
    return f"{dtypes}:{hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()}"


def learn(modules: nn.Module, tensors: Mapping[str, Tensor], known: Known) -> None:
    """Take the hashes of some tensors of modules that are not known yet."""
    new = {name: tensor for name, tensor in tensors.items() if (modules, name) not in known}
    known |= {(modules, name): parts for name, parts in hashes_of(new).items()}


def hashes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[TensorHash, ...]]:
    """The hashes of tensors, by name; several of one that consists of several."""
    parts = [(name, part) for name, tensor in tensors.items() for part in held_tensors(tensor.detach())]
    with ThreadPoolExecutor(_THREADS) as threads:
        digests = list(threads.map(tensor_hash, [part for _, part in parts]))
    found: dict[str, tuple[TensorHash, ...]] = dict.fromkeys(tensors, ())
    for (name, part), digest in zip(parts, digests, strict=True):
        dtype = str(part.dtype).removeprefix("torch.")
        found[name] = (*found[name], TensorHash(tuple(part.shape), dtype, digest))
    return found


def tensor_hash(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes, wherever and however it lies."""
    flat = tensor.detach().to("cpu").contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _folder_hash(facts: ModelFacts, files: Iterator[Path], content: ContentHashes) -> str:
    """Files of a model's folder as one hash. A snapshot of the Hub is known by its commit: not all of it need be there yet."""
    if facts.path.parent.name == "snapshots" and _SNAPSHOT.fullmatch(facts.path.name):
        return f"commit:{facts.path.name}"
    found = sorted((file.relative_to(facts.path).as_posix(), file) for file in files)
    return f"sha256:{content.of_all(found)}"


def _descriptions(folder: Path) -> Iterator[Path]:
    """The JSON files of a model's folder and of its parts, which say what the weights are."""
    for pattern in ("*.json", "*/*.json"):
        yield from (file for file in folder.glob(pattern) if file.is_file())


def _encoders(facts: ModelFacts) -> Iterator[Path]:
    """Every file of what encodes videos and captions; hidden ones are nobody's."""
    for part in facts.encoders or (".",):
        for file in (facts.path / part).rglob("*"):
            hidden = any(name.startswith(".") for name in file.relative_to(facts.path).parts)
            if file.is_file() and not hidden:
                yield file
