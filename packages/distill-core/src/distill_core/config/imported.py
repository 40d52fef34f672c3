"""A translated config as the text of a run.yaml: each remark stands above the key that it is about. Reads no file."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from distill_core.config.document import read_document, write_yaml
from distill_core.protocols.importer import Remark, Translation
from distill_core.redaction import redact_text

WIDTH = 130
ORDER = (
    "recipe",
    "roles",
    "data",
    "training",
    "pipeline_config",
    "method_config",
    "validation",
    "checkpoint",
    "tracking",
    "output_dir",
)
"""The sections as a person reads them; others come after."""


def fitted(translation: Translation, options: Mapping[str, tuple[str, Collection[str]]]) -> Translation:
    """The same run without the keys that its own plugins do not have; a remark says what each was.

    Args:
        translation: what an importer made of a config.
        options: of ``method_config`` and ``pipeline_config``, as far as the plugin is known: what it is called, and its keys.
    """
    run = dict(translation.run)
    remarks = list(translation.remarks)
    for section, (owner, keys) in options.items():
        for key, value in list(run.get(section, {}).items()):
            if key in keys:
                continue
            place = f"{section}.{key}"
            said = next((each.theirs for each in remarks if each.ours == place and each.theirs), f"{place}: {value}")
            remarks = [each for each in remarks if not f"{each.ours}.".startswith(f"{place}.")]
            remarks.append(Remark(said, None, f"{owner} has no {key}"))
            run[section] = {name: each for name, each in run[section].items() if name != key}
    return Translation({name: value for name, value in run.items() if value != {}}, tuple(remarks))


def run_yaml_of(translation: Translation, source: str) -> str:
    """The run.yaml, with what it was made from, the remarks at its keys, and at the end what has no counterpart."""
    sections = {name: translation.run[name] for name in ORDER if name in translation.run}
    text = write_yaml({**sections, **{name: value for name, value in translation.run.items() if name not in sections}})
    document = read_document(text, source)
    above: dict[int, list[Remark]] = defaultdict(list)
    lost: list[Remark] = []
    for remark in translation.remarks:
        line = None if remark.ours is None else document.line(tuple(remark.ours.split(".")))
        (lost if line is None else above[line]).append(remark)
    lines = [
        f"# Made from {source} by `distill import`. A comment stands where a key does not mean the same here, or was not written there."
    ]
    for number, written in enumerate(text.splitlines(), 1):
        indent = written[: len(written) - len(written.lstrip())]
        lines += [each for remark in above[number] for each in _comment(remark, indent)]
        lines.append(written)
    if lost:
        lines += ["", "# Without a counterpart here:"]
        lines += [each for remark in lost for each in _comment(remark, "")]
    return "\n".join(lines) + "\n"


def _comment(remark: Remark, indent: str) -> Iterable[str]:
    said = f"{redact_text(remark.theirs) or 'not in the file'} — {remark.message}"
    start = f"{indent}# "
    return textwrap.wrap(
        " ".join(said.split()),
        WIDTH,
        initial_indent=start,
        subsequent_indent=f"{start}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
