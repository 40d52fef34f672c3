"""The package that a page shows, file by file, installed as its reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def package_files(page: Path) -> dict[str, str]:
    """The files of a page, by the name that stands before each block."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w/.-]+)` —(?:[^\n]+\n)+\n```\w+\n(.*?)```", text, flags=re.DOTALL | re.MULTILINE))


def install_page(page: Path, folder: Path) -> Path:
    """A folder in a test's own that the page's package was installed into by pip's own rules."""
    source, site = folder / "source", folder / "site"
    for name, content in package_files(page).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content, encoding="utf-8")
    install = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*install, "--target", str(site), str(source)], check=True, timeout=300)
    return site
