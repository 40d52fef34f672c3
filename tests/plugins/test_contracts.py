"""distill_core.protocols: the contracts by name, read one by one."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from distill_core import protocols

NAMES = protocols.__all__


def test_every_contract_is_had_by_its_name_as_its_own_module_has_it() -> None:
    assert NAMES
    for name in NAMES:
        contract = getattr(protocols, name)
        home = contract.__module__
        assert home.startswith(f"{protocols.__name__}.")
        assert vars(import_module(home))[name] is contract


def test_a_contract_that_there_is_not_cannot_be_imported() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Modell'"):
        exec("from distill_core.protocols import Modell")


def test_a_contract_is_read_without_the_others() -> None:
    program = "import sys; from distill_core.protocols import ValidationRequest; print(*sys.modules)"
    read = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = [name for name in read if name.startswith(f"{protocols.__name__}.")]
    assert ours == [protocols.ValidationRequest.__module__]
