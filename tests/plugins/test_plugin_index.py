"""What a run may choose, and what it is told where it may not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core.errors import PluginError
from distill_core.plugins import MethodSpec, ModelSpec, Options
from distill_core.plugins.index import PluginIndex


def model(name: str) -> ModelSpec:
    """A model that is nothing but its name."""
    return ModelSpec(name, f"the model {name}", Options, "a:b", "c:D", frozenset())


def method(name: str) -> MethodSpec:
    """A method that is nothing but its name."""
    return MethodSpec(name, f"the method {name}", Options, "a:B", roles={})


INDEX = PluginIndex.of(models=[model("ltx"), model("cosmos")], methods=[method("turbo"), method("regress")])


def test_an_index_of_specs_answers_by_kind_and_name() -> None:
    assert INDEX.model("ltx").summary == "the model ltx"
    assert INDEX.method("turbo").summary == "the method turbo"
    assert set(INDEX.models) == {"ltx", "cosmos"}
    assert set(INDEX.methods) == {"turbo", "regress"}
    assert INDEX.warnings == ()


def test_an_index_cannot_be_changed() -> None:
    index: Any = INDEX
    with pytest.raises(FrozenInstanceError):
        index.rows = ()
    with pytest.raises(TypeError):
        index.models["x"] = model("x")


def test_an_unknown_name_is_told_the_known_the_closest_and_a_guess() -> None:
    with pytest.raises(PluginError) as caught:
        INDEX.method("turbi")
    assert str(caught.value) == (
        "There is no method 'turbi'. Installed: regress, turbo. Did you mean 'turbo'? "
        "A guess from the name: `pip install distill-method-turbi` may bring it."
    )
    assert caught.value.exit_code == 2


def test_an_unknown_model_is_guessed_to_be_a_model_package() -> None:
    with pytest.raises(PluginError, match=r"Installed: cosmos, ltx\. A guess .* `pip install distill-model-hun-yuan`"):
        INDEX.model("Hun_Yuan")


def test_a_name_of_the_other_kind_is_told_so() -> None:
    with pytest.raises(PluginError, match="'ltx' is a model") as caught:
        INDEX.method("ltx")
    assert "pip install" not in str(caught.value)


def test_with_nothing_installed_the_message_says_that() -> None:
    with pytest.raises(PluginError, match="No method is installed"):
        PluginIndex.of().method("turbo")


def test_a_failed_plugin_is_refused_with_its_origin_and_from_its_own_exception(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-turbo", "import flash_attn_that_is_not_there", version="0.3")
    with pytest.raises(PluginError) as caught:
        plugin_site.discover().method("turbo")
    assert str(caught.value) == (
        "the method 'turbo' cannot be used: distill-method-turbo 0.3 (entry point turbo = distill_method_turbo) failed: "
        "ModuleNotFoundError: No module named 'flash_attn_that_is_not_there'; "
        "repair, upgrade or uninstall distill-method-turbo (DISTILL_TRACEBACK=1 shows where it failed)"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_conflict_is_refused_with_both_packages(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-one", method_plugin("turbo"))
    plugin_site.add("acme-two", method_plugin("turbo"))
    with pytest.raises(PluginError) as caught:
        plugin_site.discover().method("turbo")
    one, two = str(caught.value).splitlines()
    assert "acme-one 1.0" in one
    assert "block one with --no-plugin acme-two" in one
    assert "block one with --no-plugin acme-one" in two


def test_a_blocked_plugin_is_refused_with_who_blocked_it(
    plugin_site: PluginSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "turbo")
    with pytest.raises(PluginError, match="is blocked: by --no-plugin or DISTILL_BLOCK_PLUGINS; take it off"):
        plugin_site.discover().method("turbo")


def test_an_incompatible_plugin_is_refused_with_both_numbers(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo", api="PLUGIN_API = 0"))
    with pytest.raises(PluginError, match="is incompatible: wants plugin API 0, core has 2; upgrade the plugin"):
        plugin_site.discover().method("turbo")


def test_an_unknown_name_is_told_which_plugins_could_not_be_asked(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-pack", "import nothing_of_that_name")
    with pytest.raises(PluginError, match=r"Not known is what these offer: pack \(acme-pack, failed\)"):
        plugin_site.discover().method("turbo")


def test_a_broken_plugin_does_not_stand_in_the_way_of_a_good_one(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-turbo", "import nothing_of_that_name")
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    assert plugin_site.discover().method("turbo").name == "turbo"


def test_warnings_name_broken_plugins_and_misspelt_blocks(
    plugin_site: PluginSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_site.add("acme-pack", "import nothing_of_that_name")
    monkeypatch.setenv("DISTILL_BLOCK_PLUGINS", "nobody")
    broken, misspelt = plugin_site.discover().warnings
    assert broken == (
        "pack (acme-pack 1.0) cannot be used, failed: ModuleNotFoundError: No module named 'nothing_of_that_name'"
    )
    assert "names 'nobody', and no plugin is known by that name" in misspelt


def test_json_of_a_row_has_the_stable_keys() -> None:
    assert list(INDEX.rows[0].as_json()) == [
        "name",
        "kind",
        "package",
        "version",
        "entry_point",
        "status",
        "error",
        "summary",
    ]


def test_rows_are_found_by_name_whatever_their_kind() -> None:
    both = PluginIndex.of(models=[model("twin")], methods=[method("twin")])
    assert [row.kind for row in both.named("twin")] == ["model", "method"]
    with pytest.raises(PluginError, match=r"no plugin 'twn'\. Installed: twin\. Did you mean 'twin'\?"):
        both.named("twn")
