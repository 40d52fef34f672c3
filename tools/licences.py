"""The licences of everything that a user of these packages installs: ``python tools/licences.py``; 1 if one of them is not permitted.

Follows the requirements of every installed ``distill-*`` package, extras included, through the installed metadata. What a wheel carries
inside it (PyAV's wheels carry FFmpeg with x264, which is GPL) its metadata do not say, and this does not see.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = "distill-"

PERMITTED = frozenset(
    {
        "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC",
        "LicenseRef-NVIDIA-Proprietary", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
    }
)  # fmt: skip
"""SPDX names. MPL-2.0 binds changes of the library's own files only; NVIDIA's are the CUDA libraries that torch's wheels ask for."""

SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}
"""What packages write that is no SPDX name."""

READ = {"cuda-toolkit": "LicenseRef-NVIDIA-Proprietary"}
"""Packages whose metadata say nothing, and what a person read; cuda-toolkit is a list of NVIDIA's libraries and holds no software."""


REMEDY = "read it, and add it to PERMITTED, SPELLINGS or READ in tools/licences.py, or leave the package out"


@dataclass(frozen=True)
class Licence:
    """One package's.

    Attributes:
        package: its name.
        version: its version.
        expression: an SPDX expression, or what the package writes instead; empty where it says nothing.
    """

    package: str
    version: str
    expression: str

    @property
    def permitted(self) -> bool:
        """Whether every part that must hold (``AND``) has a choice (``OR``) that is permitted."""
        return (
            any(_all_permitted(choice) for choice in re.split(r"\s+OR\s+", self.expression))
            if self.expression
            else False
        )


def _all_permitted(choice: str) -> bool:
    return all(part.strip("() ") in PERMITTED for part in re.split(r"\s+AND\s+", choice))


def licence_of(found: Distribution) -> Licence:
    """What a distribution's metadata say: the expression, else the licence field if it is one line, else the classifiers."""
    name = canonicalize_name(found.name)
    field = "".join((found.metadata.get_all("License-Expression") or found.metadata.get_all("License") or [""])[:1])
    classifiers = [
        each.split("::")[-1].strip()
        for each in found.metadata.get_all("Classifier") or []
        if each.startswith("License ::")
    ]
    said = field if field and "\n" not in field else " AND ".join(SPELLINGS.get(each, each) for each in classifiers)
    return Licence(name, found.version, SPELLINGS.get(said, said) or READ.get(name, ""))


def installed_with(roots: Iterable[str]) -> Mapping[str, Distribution]:
    """The distributions that these packages, with all their extras, bring along; those that another platform needs are left out."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    due = [
        (name, extra)
        for name in roots
        for extra in ("", *(distribution(name).metadata.get_all("Provides-Extra") or []))
    ]
    while due:
        name, extra = due.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        due += _needed(found[name], extra)
    return found


def _needed(found: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    for line in found.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(requirement.name), each) for each in ("", *requirement.extras))


def main() -> int:
    """Print the table; the exit status."""
    own = sorted(
        canonicalize_name(each.name) for each in distributions() if canonicalize_name(each.name).startswith(OWN)
    )
    licences = [licence_of(found) for _, found in sorted(installed_with(own).items())]
    refused = [each for each in licences if not each.permitted]
    for each in licences:
        print(f"{each.package:45} {each.version:18} {each.expression}")
    for each in refused:
        said = each.expression or "no licence in its metadata"
        print(f"{each.package}: {said} is not permitted; {REMEDY}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())
