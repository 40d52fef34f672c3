"""Mutants of the code that saves, resumes and orders the data: each a mistake that someone could make, and the tests that have to see it.

``uv run python -m tests.core.mutants`` makes each in a copy of the tree, runs its tests there, and prints which of them were killed. One
that survives is a promise that no test holds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import diffusers
import pyarrow.parquet
import pydantic
import pytest
import torch._dynamo
import torch.distributed.checkpoint
import torch.utils.tensorboard

IMPORTED = (
    diffusers,
    pyarrow.parquet,
    pydantic,
    torch.distributed.checkpoint,
    torch._dynamo,
    torch.utils.tensorboard,
)
"""What each of them would import anew; none of ours is."""
ROOT = Path(__file__).parents[2]
CORE = "packages/distill-core/src/distill_core"


@dataclass(frozen=True)
class Mutant:
    """A change to one file.

    Attributes:
        file: below the core's package.
        old: what stands there once.
        new: what the mutant has instead.
        tests: what has to fail, as pytest takes it.
    """

    file: str
    old: str
    new: str
    tests: str


BEHIND, BLOCKS = "tests/core/test_behind.py", "tests/core/test_blocks.py"
CHECKPOINTS, INTEGRITY = "tests/core/test_checkpoints.py", "tests/core/test_integrity.py"
KILLS, RESUMING, TRAINING = "tests/core/test_kills.py", "tests/core/test_resuming.py", "tests/core/test_training.py"
STREAM, RANKS = "tests/data/test_row_stream.py", "tests/core/test_ranks.py"
GOING_ON, GRACE = "tests/core/test_ranks_resuming.py -k damaged", "tests/core/test_grace.py -k neither"
EVERY_STEP = f"{KILLS}::test_a_run_that_is_stopped_at_every_step_ends_bitwise_where_an_unstopped_one_does"
MUTANTS = (
    Mutant(
        "checkpoint/blocks.py",
        'return None if hashes(file, wanted) == [self.sha256[block] for block in wanted] else "not what was written"',
        "return None",
        INTEGRITY,
    ),
    Mutant("checkpoint/blocks.py", "view[: BLOCK - self.size % BLOCK]", "view[:BLOCK]", BLOCKS),
    Mutant(
        "checkpoint/hashed_files.py",
        "return content if blocks.digest(content) == self._record.sha256[number] else None",
        "return content",
        BLOCKS,
    ),
    Mutant(
        "checkpoint/published.py", '(manifest.step, self.state()["step"]) != (self.step, self.step)', "False", INTEGRITY
    ),
    Mutant(
        "checkpoint/saving.py",
        """self.identity, written).write(beside)
        self._refuse_abandoned()
        os.rename(beside, final)""",
        """self.identity, written)
        os.rename(beside, final)
        recorded(final, step, version("distill-core"), self.identity, written).write(final)""",
        CHECKPOINTS,
    ),
    Mutant("checkpoint/saving.py", "        sync(self.root)\n", "", CHECKPOINTS),
    Mutant("checkpoint/tensors.py", "    sync(folder)  #", "    #", CHECKPOINTS),
    Mutant(
        "checkpoint/saving.py",
        """        except BaseException as error:
            shutil.rmtree(beside, ignore_errors=True)
""",
        "        except BaseException as error:\n",
        CHECKPOINTS,
    ),
    Mutant("checkpoint/saving.py", "kept += self._is_good(checkpoint)", "kept += 1", f"{TRAINING} -k retention"),
    Mutant("checkpoint/saving.py", "        self._sweep()\n", "", CHECKPOINTS),
    Mutant(
        "checkpoint/store.py",
        "        found.refuse(self.consent, str(checkpoint.path))\n",
        "",
        "tests/core/test_identity.py",
    ),
    Mutant("checkpoint/store.py", "        if named:\n", "        if not named and named:\n", RESUMING),
    Mutant("checkpoint/store.py", "load(state.tensors(), unverified=True)", "load(state.tensors())", BLOCKS),
    Mutant(
        "checkpoint/store.py",
        "in self.ranks.gather(_fault(checkpoint, state))",
        "in [_fault(checkpoint, state)]",
        GOING_ON,
    ),
    Mutant("training/trainer.py", "        if self._asked is not None:\n            self._settle_saves()\n", "", GRACE),
    Mutant("checkpoint/snapshot.py", 'tensor.detach().to("cpu", copy=True)', 'tensor.detach().to("cpu")', BEHIND),
    Mutant("checkpoint/snapshot.py", "_local(before).copy_(_local(tensor))", "pass", BEHIND),
    Mutant("checkpoint/store.py", "            self._beside.abandoned = True\n", "", BEHIND),
    Mutant("training/saving.py", "        if failed:\n", "        if not failed and failed:\n", BEHIND),
    Mutant("training/saving.py", "self.ranks.first and self.every", "self.every", BEHIND),
    Mutant(
        "training/trainer.py",
        "self._asked is not None or step == self.schedule.last:",
        "self._asked is not None:",
        BEHIND,
    ),
    Mutant("running/resuming.py", "each.step >= checkpoint.step", "each.step > checkpoint.step", RESUMING),
    Mutant("running/resuming.py", "        os.rename(later.path, aside)\n", "", RESUMING),
    Mutant(
        "training/state.py", 'optimizer.updates = int(numbers["updates"][name])', "optimizer.updates = 0", EVERY_STEP
    ),
    Mutant("training/state.py", '        self.stream.load_state_dict(numbers["data"])\n', "        pass\n", EVERY_STEP),
    Mutant(
        "training/state.py",
        "        self.stream.load_state_dict(position)\n",
        "",
        "tests/core/test_nonfinite.py -k rolled",
    ),
    Mutant(
        "training/state.py",
        "named |= weight_tensors(role) | average_tensors(role)",
        "named |= weight_tensors(role)",
        EVERY_STEP,
    ),
    Mutant("training/state.py", "named |= optimizer_tensors(name, role.optimizer)", "pass", EVERY_STEP),
    Mutant("training/averages.py", "step <= self.start_step", "step < self.start_step", "tests/core/test_ema.py"),
    Mutant(
        "data/reading/order.py",
        'key_bits(self.seed, "row order", epoch, *self._key)',
        'key_bits(self.seed, "row order", *self._key)',
        STREAM,
    ),
    Mutant(
        "data/reading/order.py", "first = place * self._batch_size", "first = place * (self._batch_size - 1)", STREAM
    ),
    Mutant("data/reading/stream.py", "self._first = rank * self._share", "self._first = rank", STREAM),
    Mutant(
        "data/reading/stream.py", "later = batch + len(self._ahead)", "later = batch + len(self._ahead) + 1", STREAM
    ),
    Mutant(
        "data/reading/stream.py",
        "        self._samples += self._batch_size\n",
        "        self._samples += self._share\n",
        STREAM,
    ),
    Mutant(
        "data/reading/stream.py",
        "        self.close()\n        self._samples = samples\n",
        "        self._samples = samples\n",
        STREAM,
    ),
)


def survivors(mutants: tuple[Mutant, ...], tree: Path) -> Iterator[Mutant]:
    """Those that their tests let pass. ``tree``: an empty folder."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    for mutant in mutants:
        began = time.monotonic()
        killed = not passes(mutant, tree)
        said = f"{'killed' if killed else 'SURVIVED'} {mutant.file}: {mutant.old.strip()[:70]!r}"
        print(f"{said} ({time.monotonic() - began:.0f} s)", flush=True)
        if not killed:
            yield mutant


def passes(mutant: Mutant, tree: Path) -> bool:
    """Whether the tests pass with it."""
    path = tree / CORE / mutant.file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.file} has {mutant.old!r} {text.count(mutant.old)} times"
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    log = tree / "log"
    try:
        child = os.fork()  # torch is imported once
        if child == 0:
            _test(mutant.tests.split(), tree, log)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        path.write_text(text, encoding="utf-8")
    assert status in (0, 1), log.read_text(encoding="utf-8")  # anything else is no test that failed
    return status == 0


def _test(tests: Sequence[str], tree: Path, log: Path) -> NoReturn:
    """Run tests in the copied tree, in a process that ends with them."""
    status = 70
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(tree)
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]  # this file's own packages, which lie elsewhere
        sys.dont_write_bytecode = True  # the next mutant is written within the second, at the same length
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(tree / "bytecode"))
        sys.path[:0] = [str(tree / "packages" / "distill-core" / "src"), str(tree)]
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
        once = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what is imported already brings no tests
        status = int(pytest.main(["-q", "-x", "-n", "0", "-p", "no:cacheprovider", *once, *tests]))
    except BaseException:  # noqa: BLE001  shown, and no test that failed
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Print what became of each."""
    with TemporaryDirectory() as folder:
        left = list(survivors(MUTANTS, Path(folder)))
    print(f"{len(MUTANTS)} mutants, {len(MUTANTS) - len(left)} killed")
    raise SystemExit(bool(left))


if __name__ == "__main__":
    main()
