"""docs/write-a-model.md: the test that it shows runs, with the toy family in the place of Acme."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.commands.conftest import REPOSITORY

from distill_core.testing.toy_spec import TOY, write_toy_model


def test_the_pages_own_test_of_a_family_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPOSITORY / "docs" / "write-a-model.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(from distill_core\.plugins\.registry.*?)```", text, flags=re.DOTALL)
    modules = {f"distill_model_acme{name}": ModuleType("acme") for name in ("", ".plugin", ".testing")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    modules["distill_model_acme.plugin"].__dict__["distill_register_models"] = lambda registry: registry.add(TOY)
    modules["distill_model_acme.testing"].__dict__["make_tiny_folder"] = write_toy_model
    scope: dict[str, object] = {}
    exec(compile(example, "write-a-model.md", "exec"), scope)
    (test,) = (value for name, value in scope.items() if name.startswith("test_"))
    assert callable(test)
    test(tmp_path)
