"""How long the command line takes to start with plugins installed, and whether anything heavy is imported for it.

Makes throw-away plugin packages on PYTHONPATH, each with a method and fifteen options, beside those that are installed, and times
``distill --help``, ``distill plugins list`` and a run.yaml with a typo under ``training`` in fresh processes, by their CPU time, which
is that of a clock where the machine has nothing else to do. Exit status 1 if a median is above the limit or something heavy is imported.

    python benchmarks/cli_start.py [--plugins 10] [--runs 10] [--limit 0.5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HEAVY = ("torch", "diffusers", "transformers", "wandb", "pyarrow", "av", "numpy")
COMMANDS = (("--help",), ("plugins", "list"), ("run", "typo.yaml"))
TYPO = """\
recipe: {family: wan, method: dmd2}
roles:
  student: {path: student, trainable: true}
  teacher: {path: teacher, trainable: false}
  critic: {path: critic, trainable: true}
data: {path: data}
training: {max_train_stepz: 1000}
output_dir: run
"""

PLUGIN = """\
from typing import Annotated, Literal

from pydantic import Field

from distill_core.plugins import MethodSpec, Options, RoleNeed, hookimpl

PLUGIN_API = 2


class BenchOptions(Options):
    kind: Literal["ode", "sde"] = "sde"
    '''Which sampler.'''
{fields}


@hookimpl
def distill_register_methods(registry):
    needs = {{"pupil": RoleNeed(trainable=True, operations=frozenset({{"predict"}}))}}
    registry.add(MethodSpec("{name}", "a throw-away method", BenchOptions, "no.such:Method", needs))
"""


def install(site: Path, name: str) -> None:
    """Put a plugin package called ``bench-NAME`` into ``site``."""
    fields = "\n".join(
        f"    rate_{index}: Annotated[float, Field(ge=0, le=1)] = 0.5\n    '''The rate {index}.'''"
        for index in range(14)
    )
    (site / f"bench_{name}.py").write_text(PLUGIN.format(name=name, fields=fields))
    info = site / f"bench_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bench-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[distill]\n{name} = bench_{name}\n")


def warm_environment(site: Path) -> dict[str, str]:
    """The environment of a child process that sees ``site`` and keeps byte code, in ``site``, as an installation does."""
    for name in ("bytecode", "cache"):
        (site / name).mkdir()  # one that came later would be a change of what is installed
    own = {"PYTHONPYCACHEPREFIX": str(site / "bytecode"), "XDG_CACHE_HOME": str(site / "cache")}
    environment = {**os.environ, "PYTHONPATH": str(site), **own}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def seconds(command: tuple[str, ...], environment: dict[str, str], site: Path, runs: int) -> list[float]:
    """CPU seconds of each of ``runs`` fresh processes, after one that writes the byte code and warms the disk."""
    times = []
    for _ in range(runs + 1):
        start = os.times()
        subprocess.run([sys.executable, "-m", "distill_core", *command], env=environment, cwd=site, capture_output=True)
        end = os.times()
        times.append(end.children_user + end.children_system - start.children_user - start.children_system)
    return times[1:]


def heavy_imports(command: tuple[str, ...], environment: dict[str, str], site: Path) -> list[str]:
    """Which of HEAVY the command imports."""
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(*(set({HEAVY}) & set(sys.modules)), file=sys.stderr))\n"
        "from distill_core.cli import main\n"
        f"main({list(command)})\n"
    )
    child = subprocess.run([sys.executable, "-c", script], env=environment, cwd=site, capture_output=True, text=True)
    return child.stderr.splitlines()[-1].split()


def main() -> int:
    """Print one line per command; 1 if one is too slow or imports something heavy."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plugins", type=int, default=10)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--limit", type=float, default=0.5, help="CPU seconds that a median may take")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        for index in range(options.plugins):
            install(site, f"m{index}")
        (site / "typo.yaml").write_text(TYPO)
        environment = warm_environment(site)
        for command in COMMANDS:
            times = seconds(command, environment, site, options.runs)
            heavy = heavy_imports(command, environment, site)
            median = statistics.median(times)
            failed = failed or median > options.limit or bool(heavy)
            print(
                f"distill {' '.join(command):14} {options.plugins} plugins: min {min(times):.3f} s, "
                f"median {median:.3f} s; heavy imports: {', '.join(sorted(heavy)) or 'none'}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
