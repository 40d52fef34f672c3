"""Rules for the light look at a folder: no torch, the same twice, and a refusal of the right kind for what is none of the family's."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from distill_core.errors import ModelFolderError
from distill_core.plugins.border import RefusedError, plugin_border
from distill_core.testing.models.subject import Subject, Tried


def check_folder(subject: Subject, tried: Tried) -> None:
    """Every rule that needs no weights."""
    with tried.rule("inspect without torch"):
        _check_light(subject, tried)
    with tried.rule("inspect twice"):
        _check_facts(subject, tried)
    with tried.rule("inspect refuses"):
        _check_refusals(subject, tried)


def _check_light(subject: Subject, tried: Tried) -> None:
    heavy = _looked_at_alone(subject.spec.inspect, subject.folder)
    tried.expect(
        heavy is None,
        "inspect without torch",
        f"in a process of its own, inspecting a folder {heavy}; read JSON and headers in {subject.spec.inspect.partition(':')[0]}, and "
        "put what needs torch in a module of its own",
    )


@cache
def _looked_at_alone(target: str, folder: str) -> str | None:
    """What is wrong with looking at a folder in a fresh process; it costs a start of Python, so it is done once."""
    module, _, name = target.partition(":")
    code = f"import sys, {module} as look; look.{name}({folder!r}); print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        return f"raises {done.stderr.strip().splitlines()[-1]}"
    return "imports torch" if done.stdout.strip() == "True" else None


def _check_facts(subject: Subject, tried: Tried) -> None:
    rule, facts, space = "inspect twice", subject.facts, subject.facts.latent_space
    again = subject.spec.settle(subject.inspect(subject.folder), subject.options)
    tried.expect(facts == again, rule, "asked twice, the facts of one folder differ; read them from the folder alone")
    tried.expect(
        subject.spec.settle(facts, subject.options) == facts,
        rule,
        "settle changes facts that are settled already; what the options say is said once, whoever settles again",
    )
    complete = subject.spec.complete(facts, subject.options)
    tried.expect(
        isinstance(complete, subject.spec.options)
        and subject.spec.settle(subject.inspect(subject.folder), complete) == facts,
        rule,
        "under the options as `complete` gives them, the folder's facts are others; complete fills in what the folder says, no more",
    )
    counts = {len(space.mean), len(space.std), space.channels}
    tried.expect(
        len(counts) == 1 and all(std > 0 for std in space.std),
        rule,
        f"the latent space has {space.channels} channels, {len(space.mean)} means and {len(space.std)} deviations, all above 0; "
        "give one of each a channel",
    )
    tried.expect(
        "features" not in subject.spec.operations or (facts.feature_width > 0 and facts.layers > 0),
        rule,
        "the spec declares 'features', and the facts say no feature_width or layers; a method builds its heads on them",
    )


def _check_refusals(subject: Subject, tried: Tried) -> None:
    with TemporaryDirectory() as place:
        root = Path(place)
        for name in ("empty", "other", "broken"):
            (root / name).mkdir()
        (root / "file.txt").write_text("no folder", encoding="utf-8")
        (root / "other" / "model_index.json").write_text('{"_class_name": "AnotherPipeline"}', encoding="utf-8")
        for each in Path(subject.folder).glob("*.json"):
            (root / "broken" / each.name).write_text('{"half": ', encoding="utf-8")
        for name in ("absent", "empty", "file.txt", "other", "broken"):
            _expect_refused(subject, root / name, tried)


def _expect_refused(subject: Subject, path: Path, tried: Tried) -> None:
    rule, remedy = "inspect refuses", "raise a ModelFolderError that names the path and says what it is"
    try:
        with plugin_border():
            subject.inspect(str(path))
    except RefusedError as refusal:
        if not isinstance(refusal.__cause__, ModelFolderError):
            tried.findings.fault(rule, f"inspect of a path that is {path.name} raises {refusal.reason}; {remedy}")
        elif path.name not in refusal.reason:
            tried.findings.fault(rule, f"its refusal names no path: {refusal.__cause__}; {remedy}")
    else:
        tried.findings.fault(rule, f"inspect takes a path that is {path.name} for a folder of the family; {remedy}")
