"""A target is imported when it is asked for, and an error says whose it is."""

from __future__ import annotations

import pytest
from plugin_sites import PluginSite

from distill_core.errors import DataError, MethodError, PluginError
from distill_core.plugins.loading import CodeOf, load_target, make_target


def test_a_target_is_the_object_that_it_names() -> None:
    assert load_target("distill_core.plugins.loading:load_target") is load_target


def test_a_missing_module_is_named_with_its_owner() -> None:
    with pytest.raises(PluginError) as caught:
        load_target("distill_method_nowhere.method:Turbo", "method 'turbo'")
    assert str(caught.value) == (
        "method 'turbo': cannot load 'distill_method_nowhere.method:Turbo': "
        "ModuleNotFoundError: No module named 'distill_method_nowhere'; "
        "repair or reinstall the package of distill_method_nowhere.method"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_dependency_is_what_to_install(plugin_site: PluginSite) -> None:
    (plugin_site.root / "needs_more.py").write_text("import flash_attn_that_is_not_there.ops")
    with pytest.raises(PluginError, match="install flash_attn_that_is_not_there, which it imports"):
        load_target("needs_more:Thing")


def test_a_misspelt_name_is_told_the_right_one() -> None:
    with pytest.raises(PluginError, match=r"did you mean distill_core[.]plugins[.]loading:load_target"):
        load_target("distill_core.plugins.loading:load_targt")


@pytest.mark.parametrize("source", ["import sys; sys.exit(1)", "raise RuntimeError('boom')", "def broken(:"])
def test_whatever_an_import_raises_is_a_plugin_error(plugin_site: PluginSite, source: str) -> None:
    (plugin_site.root / "breaks.py").write_text(source)
    with pytest.raises(PluginError, match="repair or reinstall the package of breaks"):
        load_target("breaks:Thing")


def test_a_target_is_made_with_what_it_is_given() -> None:
    assert make_target("builtins:complex", "method 'turbo'", 1.0, 2.0) == 1 + 2j


def test_what_is_raised_while_a_target_is_made_names_its_owner_and_keeps_its_cause() -> None:
    with pytest.raises(MethodError) as caught:
        make_target("builtins:int", "method 'turbo'", "two", error=MethodError)
    assert str(caught.value) == (
        "method 'turbo': making int raised ValueError: invalid literal for int() with base 10: 'two'; DISTILL_TRACEBACK=1 shows where"
    )
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_refusal_of_ours_inside_a_plugins_code_stays_what_it_is() -> None:
    with pytest.raises(DataError, match="nothing to read"), CodeOf("model 'toy'", "loading its modules"):
        raise DataError("nothing to read")
