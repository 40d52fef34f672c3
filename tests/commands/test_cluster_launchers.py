"""docs/scale.md's launchers, as people copy them: torchrun starts two real processes, the files for clusters parse."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.commands.conftest import Command
from tests.commands.test_bad_input import RunYaml
from tests.commands.test_run_in_processes import SECTIONS, lines_of

from distill_core.ranks.launcher import free_port

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def block_with(language: str, text: str) -> str:
    """The only one that holds a text."""
    (found,) = (block for block in blocks(language) if text in block)
    return found


def run_script(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A script of the page, in a folder, where `distill` and torchrun are those of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(["bash", "-c", script], cwd=folder, env=own, capture_output=True, text=True, check=False)


@pytest.fixture
def alone(distill: Command, run_yaml: RunYaml, tmp_path: Path) -> list[dict[str, float]]:
    """The figures of one process; run.yaml of the same run lies in the test's folder."""
    path = run_yaml(**SECTIONS)
    content = yaml.safe_load(path.read_text())
    content["output_dir"] = str(tmp_path / "together")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    assert distill("run", path, f"output_dir={tmp_path / 'one'}").code == 0
    return lines_of(tmp_path / "one")


def assert_as_alone(result: subprocess.CompletedProcess[str], alone: list[dict[str, float]], tmp_path: Path) -> None:
    """Both processes ended well, and what they trained is what one trains."""
    assert result.returncode == 0, result.stderr
    together = lines_of(tmp_path / "together")
    assert len(together) == len(alone) == 2
    for several, one in zip(together, alone, strict=True):
        assert several == pytest.approx(one, rel=2e-3)


@pytest.mark.slow
def test_torchrun_as_the_page_says_it_trains_as_one_process_does(alone: list[dict[str, float]], tmp_path: Path) -> None:
    command = block_with("bash", "torchrun --nnodes")
    for asked, here in (("--nnodes 4", "--nnodes 1"), ("--nproc-per-node 8", "--nproc-per-node 2")):
        assert asked in command
        command = command.replace(asked, here)
    result = run_script(command.replace(":29500", f":{free_port()}"), tmp_path, {"HEAD": "127.0.0.1"})
    assert_as_alone(result, alone, tmp_path)


def of_kubernetes() -> dict[str, Any]:
    """The page's job of pods."""
    job: dict[str, Any] = yaml.safe_load(block_with("yaml", "PyTorchJob"))
    return job


def of_skypilot() -> dict[str, Any]:
    """The page's task."""
    task: dict[str, Any] = yaml.safe_load(block_with("yaml", "num_nodes"))
    return task


def test_files_for_clusters_say_what_their_clusters_need() -> None:
    job, task = of_kubernetes(), of_skypilot()
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert replicas["Master"]["replicas"] == 1, "Workers alone are not told of each other"
    assert replicas["Worker"]["template"] == replicas["Master"]["template"]
    pod = replicas["Master"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "pytorch", "the operator knows its container by this name"
    assert container["command"][-4:] == ["--no-python", "distill", "run", "/runs/run.yaml"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(job["spec"]["nprocPerNode"])
    assert task["workdir"] == ".", "else there is no requirements.txt on the machines"
    assert task["run"].replace("\\\n", " ").split()[-4:] == ["--no-python", "distill", "run", "run.yaml"]


def as_kubernetes(node: int, port: int) -> tuple[str, dict[str, str]]:
    """What a pod of two runs, with what the operator tells it."""
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(node)}
    told |= {"PET_NNODES": "2", "PET_NODE_RANK": str(node), "PET_NPROC_PER_NODE": "1"}
    (container,) = of_kubernetes()["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    command = shlex.join(container["command"]).replace("/runs/run.yaml", "run.yaml")
    return re.sub(r"'?\$\((\w+)\)'?", lambda found: told[found[1]], command), told


def as_skypilot(node: int, port: int) -> tuple[str, dict[str, str]]:
    """What a machine of two runs, with what SkyPilot tells it."""
    told = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": str(node), "SKYPILOT_NUM_GPUS_PER_NODE": "1"}
    return of_skypilot()["run"].replace("29500", str(port)), {**told, "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.2"}


@pytest.mark.slow
@pytest.mark.parametrize("told", [as_kubernetes, as_skypilot])
def test_two_machines_of_a_cluster_train_as_one_process_does(
    alone: list[dict[str, float]], tmp_path: Path, told: Callable[[int, int], tuple[str, dict[str, str]]]
) -> None:
    port = free_port()
    with ThreadPoolExecutor(2) as machines:
        results = list(
            machines.map(lambda node: run_script(told(node, port)[0], tmp_path, told(node, port)[1]), (0, 1))
        )
    for result in results:
        assert_as_alone(result, alone, tmp_path)
