"""A fault of one plugin is a row with its reason, and nothing else changes."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core.plugins.discovery import discover

GOOD = method_plugin("good")


def faulty(site: PluginSite, source: str, value: str | None = None) -> tuple[str, str]:
    """Install a faulty plugin beside a good one; the good one must not notice. Returns the fault's status and error."""
    site.add("distill-method-good", GOOD)
    site.add("distill-method-bad", source, value=value)
    assert site.row("good").status == "ok"
    row = site.row("bad")
    assert row.package == "distill-method-bad"
    assert row.version == "1.0"
    return row.status, row.error


def test_a_good_plugin_is_a_row_and_can_be_chosen(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-good", GOOD, version="2.1")
    row = plugin_site.row("good")
    assert (row.kind, row.package, row.version, row.status) == ("method", "distill-method-good", "2.1", "ok")
    assert row.entry_point == "good = distill_method_good"
    assert row.summary == "the method good"
    assert row.hooks == ("distill_register_methods",)
    assert plugin_site.discover().method("good").name == "good"


def test_one_plugin_may_bring_models_and_methods(plugin_site: PluginSite) -> None:
    source = method_plugin("both") + (
        "from distill_core.plugins import ModelSpec\n"
        "@hookimpl\n"
        "def distill_register_models(registry):\n"
        '    registry.add(ModelSpec("both", "a model", Options, "a:b", "c:D", frozenset()))\n'
    )
    plugin_site.add("acme-both", source)
    index = plugin_site.discover()
    assert [row.kind for row in index.rows] == ["model", "method"]
    assert index.model("both").summary == "a model"
    assert index.method("both").summary == "the method both"
    assert index.rows[0].hooks == ("distill_register_models", "distill_register_methods")


def test_an_import_error_fails_the_plugin(plugin_site: PluginSite) -> None:
    assert faulty(plugin_site, "import flash_attn_that_is_not_there") == (
        "failed",
        "ModuleNotFoundError: No module named 'flash_attn_that_is_not_there'",
    )
    assert isinstance(plugin_site.row("bad").cause, ModuleNotFoundError)


def test_sys_exit_in_an_import_fails_the_plugin(plugin_site: PluginSite) -> None:
    assert faulty(plugin_site, "import sys; sys.exit(3)") == ("failed", "SystemExit: 3")


def test_ctrl_c_in_an_import_ends_us(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-bad", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


def test_a_raising_hook_drops_what_it_had_added(plugin_site: PluginSite) -> None:
    source = method_plugin("bad", "half", extra='raise RuntimeError("boom")')
    status = ("failed", "distill_register_methods raised RuntimeError: boom")
    assert faulty(plugin_site, source) == status
    index = plugin_site.discover()
    assert [(row.name, row.status) for row in index.rows] == [("bad", "failed"), ("good", "ok"), ("half", "failed")]
    assert list(index.methods) == ["good"]


def test_one_raising_hook_drops_what_the_other_hook_added(plugin_site: PluginSite) -> None:
    source = method_plugin("bad") + "@hookimpl\ndef distill_register_models(registry):\n    raise RuntimeError\n"
    assert faulty(plugin_site, source) == ("failed", "distill_register_models raised RuntimeError")
    assert "bad" not in plugin_site.discover().methods


def test_a_wrong_hook_argument_fails_the_plugin(plugin_site: PluginSite) -> None:
    status, error = faulty(plugin_site, GOOD.replace("methods(registry)", "methods(regsitry)"))
    assert status == "failed"
    assert "'regsitry'" in error
    assert "\n" not in error


def test_a_plugin_that_failed_to_register_fails_in_the_same_way_again(plugin_site: PluginSite) -> None:
    first = faulty(plugin_site, GOOD.replace("methods(registry)", "methods(regsitry)"))
    row = plugin_site.row("bad")
    assert (row.status, row.error) == first


@pytest.mark.parametrize("argument", ["registry=None", "other=1"])
def test_a_hook_argument_with_a_default_fails_the_plugin(plugin_site: PluginSite, argument: str) -> None:
    status, error = faulty(plugin_site, GOOD.replace("methods(registry)", f"methods({argument})"))
    assert status == "failed"
    assert f"a hook's argument has no default; remove that of {argument.partition('=')[0]}" in error


def test_a_misspelt_hook_fails_with_the_right_spelling(plugin_site: PluginSite) -> None:
    assert faulty(plugin_site, GOOD.replace("register_methods", "register_method")) == (
        "failed",
        "there is no hook distill_register_method; did you mean distill_register_methods?",
    )


def test_a_hook_without_its_marker_fails_the_plugin(plugin_site: PluginSite) -> None:
    assert faulty(plugin_site, GOOD.replace("@hookimpl\n", "")) == (
        "failed",
        "distill_register_methods is not marked as a hook; put @hookimpl above it",
    )


def test_a_plugin_that_adds_nothing_fails(plugin_site: PluginSite) -> None:
    assert faulty(plugin_site, "PLUGIN_API = 2") == (
        "failed",
        "its hooks add no model, no method, no metric, no reward and no importer",
    )


def test_a_class_in_place_of_a_module_fails_the_plugin(plugin_site: PluginSite) -> None:
    status = faulty(plugin_site, "class Plugin:\n    PLUGIN_API = 2", value="distill_method_bad:Plugin")
    assert status == ("failed", "its entry point must name a module; 'distill_method_bad:Plugin' is a type")


def test_an_entry_point_that_is_no_name_fails_the_plugin(plugin_site: PluginSite) -> None:
    status, _ = faulty(plugin_site, "", value="not a module!")
    assert status == "failed"


def test_a_plugin_without_an_api_number_is_incompatible(plugin_site: PluginSite) -> None:
    status = ("incompatible", "distill_method_bad does not say PLUGIN_API = 2")
    assert faulty(plugin_site, method_plugin("bad", api="")) == status


def test_an_api_number_is_read_from_the_module_itself(plugin_site: PluginSite) -> None:
    source = method_plugin("bad", api="") + "\ndef __getattr__(name):\n    return 1\n"
    assert faulty(plugin_site, source)[0] == "incompatible"


@pytest.mark.parametrize(
    ("stated", "remedy"),
    [("1", "upgrade the plugin"), ("3", "upgrade distill-core"), ("'2'", "upgrade the plugin")],
)
def test_another_api_number_is_incompatible(plugin_site: PluginSite, stated: str, remedy: str) -> None:
    status = faulty(plugin_site, method_plugin("bad", api=f"PLUGIN_API = {stated}"))
    assert status == ("incompatible", f"wants plugin API {stated}, core has 2; {remedy}")


def test_metadata_that_cannot_be_read_fail_the_plugin(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-good", GOOD)
    (plugin_site.root / "distill_method_good-1.0.dist-info" / "METADATA").unlink()
    (row,) = (row for row in discover().rows if row.name == "good")
    assert (row.status, row.package) == ("failed", "-")
    assert "metadata" in row.error


def test_two_packages_with_one_name_are_both_in_conflict(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    plugin_site.add("acme-turbo", method_plugin("turbo", "other"))
    rows = {(row.name, row.package): row.status_line for row in plugin_site.discover().rows}
    assert rows == {
        ("other", "acme-turbo"): "ok",
        ("turbo", "acme-turbo"): (
            "conflict: also offered by distill-method-turbo; block one with --no-plugin distill-method-turbo"
        ),
        (
            "turbo",
            "distill-method-turbo",
        ): "conflict: also offered by acme-turbo; block one with --no-plugin acme-turbo",
    }
    assert list(plugin_site.discover().methods) == ["other"]


def test_two_plugins_of_one_package_with_one_name_are_told_apart_by_entry_point(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-turbo", method_plugin("turbo"), entry_points={"one": "acme_turbo", "two": "acme_again"})
    (plugin_site.root / "acme_again.py").write_text(method_plugin("turbo"))
    assert {row.status_line for row in plugin_site.discover().rows} == {
        "conflict: also offered by two; block one with --no-plugin two",
        "conflict: also offered by one; block one with --no-plugin one",
    }


def test_a_failed_plugin_is_in_conflict_with_nobody(plugin_site: PluginSite) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    plugin_site.add("acme-turbo", method_plugin("turbo", extra="raise RuntimeError"))
    assert {row.package: row.status for row in plugin_site.discover().rows} == {
        "acme-turbo": "failed",
        "distill-method-turbo": "ok",
    }


def test_a_name_that_one_plugin_adds_twice_fails_it(plugin_site: PluginSite) -> None:
    status, error = faulty(plugin_site, method_plugin("bad", "bad"))
    assert status == "failed"
    assert "'bad' is added twice" in error


def test_the_same_package_twice_is_one_row(
    plugin_site: PluginSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable install beside a wheel: two dist-infos of one name, on two folders of the path."""
    plugin_site.add("distill-method-good", GOOD, version="1.0")
    wheel = tmp_path / "wheel"
    plugin_site.add("distill-method-good", GOOD, version="0.9", root=wheel)
    monkeypatch.setattr(sys, "path", [*sys.path, str(wheel)])
    row = plugin_site.row("good")
    assert (row.status, row.version) == ("ok", "1.0")


def test_one_module_under_two_entry_points_is_one_row(plugin_site: PluginSite) -> None:
    entries = {"first": "distill_method_good", "second": "distill_method_good"}
    plugin_site.add("distill-method-good", GOOD, entry_points=entries)
    assert {"first", "second"} <= {entry.name for entry in entry_points(group="distill")}
    assert plugin_site.row("good").status == "ok"


def test_rows_are_models_then_methods_then_the_unknown_by_name(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-z", "import nothing_of_that_name")
    plugin_site.add("acme-b", method_plugin("b"))
    plugin_site.add("acme-a", method_plugin("a"))
    assert [row.name for row in plugin_site.discover().rows] == ["a", "b", "z"]


def test_tracing_prints_calls_and_results_on_stderr(
    plugin_site: PluginSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin_site.add("distill-method-good", GOOD)
    plugin_site.add("distill-method-bad", method_plugin("bad", extra='raise RuntimeError("boom")'))
    monkeypatch.setenv("DISTILL_TRACE_PLUGINS", "1")
    discover()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "distill plugins: good: distill_register_methods(registry)\n" in captured.err
    assert "distill plugins: good: distill_register_methods -> added good\n" in captured.err
    assert "distill plugins: bad: distill_register_methods -> raised RuntimeError: boom\n" in captured.err


@pytest.mark.parametrize("value", ["", "0"])
def test_tracing_is_off_by_default(
    plugin_site: PluginSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    plugin_site.add("distill-method-good", GOOD)
    monkeypatch.setenv("DISTILL_TRACE_PLUGINS", value)
    discover()
    assert capsys.readouterr().err == ""
