"""A name that is not installed is told with the package that brings it, where that is one of this repository's."""

from __future__ import annotations

from importlib.resources import files

import pytest
from tools.published import published

from distill_core.errors import PluginError
from distill_core.plugins import published as module
from distill_core.plugins.index import PluginIndex
from distill_core.plugins.published import FILE, package_of


def test_the_file_is_what_the_packages_register() -> None:
    text = files(module.__package__).joinpath(FILE).read_text(encoding="utf-8")
    assert text == published(), (
        f"run: python -m tools.published > packages/distill-core/src/distill_core/plugins/{FILE}"
    )


def test_what_a_package_of_another_name_brings_is_told_with_that_package() -> None:
    index = PluginIndex.of()
    with pytest.raises(
        PluginError, match=r"There is no reward 'shapes'\..* `pip install distill-metric-shapes` brings it\.$"
    ):
        index.reward("shapes")
    with pytest.raises(PluginError, match=r"`pip install distill-method-sid` brings it\.$"):
        index.method("sgmd")


def test_a_name_of_nobodys_and_one_of_another_kind_have_no_package() -> None:
    assert package_of("method", "turbo") is None
    assert package_of("metric", "wan") is None
    assert package_of("model", "wan") == "distill-model-wan"
