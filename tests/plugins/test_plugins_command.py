"""``distill plugins``: list, show, check, matrix."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core.cli import main

MODEL_AND_METHOD = """\
from distill_core.plugins import Demands, MethodSpec, ModelSpec, Options, RoleNeed, hookimpl

PLUGIN_API = 2

class TurboOptions(Options):
    steps: int = 4
    '''How many steps.'''

@hookimpl
def distill_register_models(registry):
    registry.add(ModelSpec("acme", "a model", Options, "acme_pack:inspect", "acme_pack:Model",
        frozenset({"predict"}), latent_spaces=("acme-128",)))

@hookimpl
def distill_register_methods(registry):
    registry.add(MethodSpec("turbo", "a method", TurboOptions, "acme_pack:Turbo",
        {"pupil": RoleNeed(True, frozenset({"predict", "flow_shift"})),
         "judge": RoleNeed(False, frozenset({"predict"}), optional=True)}))

def inspect(path): ...
class Model: ...
class Turbo: ...
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def distill(plugin_site: PluginSite, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process: exit status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, captured.out, captured.err

    return run


def line_of(output: str, package: str) -> str:
    """The only line that names ``package``, with its columns one blank apart."""
    (line,) = (line for line in output.splitlines() if package in line.split())
    return " ".join(line.split())


def test_list_shows_good_and_broken_plugins_and_exits_0(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"), version="0.3.0")
    plugin_site.add("acme-broken", f"raise RuntimeError('{'long ' * 40}')")
    plugin_site.add("acme-old", method_plugin("old", api="PLUGIN_API = 0"))
    status, out, err = distill("plugins", "list")
    assert status == 0
    assert out.splitlines()[0].split() == ["NAME", "KIND", "PACKAGE", "VERSION", "STATUS"]
    assert line_of(out, "distill-method-turbo") == "turbo method distill-method-turbo 0.3.0 ok"
    assert line_of(out, "acme-broken") == f"broken - acme-broken 1.0 failed: RuntimeError: {('long ' * 40).strip()}"
    assert line_of(out, "acme-old").startswith("old - acme-old 1.0 incompatible: wants plugin API 0")
    assert err.count("warning: broken (acme-broken 1.0) cannot be used") == 1
    assert "turbo" not in err


def test_list_columns_are_aligned_and_end_without_blanks(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    _, out, _ = distill("plugins", "list")
    header, *rows = out.splitlines()
    start = header.index("STATUS")
    assert all(row[start - 2 : start] == "  " and row[start] != " " for row in rows)
    assert all(line == line.rstrip() for line in out.splitlines())


def test_list_as_json_has_a_row_per_plugin(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    plugin_site.add("acme-broken", "raise RuntimeError")
    status, out, _ = distill("plugins", "list", "--json", "--hooks")
    rows = {row["package"]: row for row in json.loads(out)}
    assert status == 0
    assert rows["distill-method-turbo"] == {
        "name": "turbo",
        "kind": "method",
        "package": "distill-method-turbo",
        "version": "1.0",
        "entry_point": "turbo = distill_method_turbo",
        "status": "ok",
        "error": "",
        "summary": "the method turbo",
        "hooks": ["distill_register_methods"],
    }
    assert (rows["acme-broken"]["status"], rows["acme-broken"]["error"]) == ("failed", "RuntimeError")


def test_list_shows_hooks_when_asked(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    _, out, _ = distill("plugins", "list", "--hooks")
    assert line_of(out, "distill-method-turbo") == "turbo method distill-method-turbo 1.0 distill_register_methods ok"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-plugin", "turbo", "plugins", "list"),
        ("plugins", "list", "--no-plugin", "distill-method-turbo"),
        ("plugins", "--no-plugin=turbo", "list"),
    ],
)
def test_no_plugin_blocks_wherever_it_is_written(
    plugin_site: PluginSite, distill: Command, arguments: tuple[str, ...]
) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    status, out, _ = distill(*arguments)
    assert status == 0
    assert line_of(out, "distill-method-turbo") == "turbo - distill-method-turbo 1.0 blocked"


def test_show_of_a_method_has_its_roles_and_options(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    status, out, _ = distill("plugins", "show", "turbo")
    assert status == 0
    assert "package      acme-pack 1.0" in out
    assert "summary      a method" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "pupil true required flow_shift, predict" in lines
    assert "judge false optional predict" in lines
    assert "method_config" in lines
    assert "steps int 4 How many steps." in lines


def test_show_of_a_model_has_its_operations_and_spaces(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    _, out, _ = distill("plugins", "show", "acme")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "operations predict" in lines
    assert "attention dense" in lines
    assert "latent spaces acme-128" in lines
    assert lines[-2:] == ["pipeline_config", "none"]


def test_show_as_json_and_as_json_schema(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    (card,) = json.loads(distill("plugins", "show", "turbo", "--json")[1])
    assert card["roles"]["judge"] == {"trainable": False, "optional": True, "operations": ["predict"]}
    assert card["options"] == [{"name": "steps", "type": "int", "default": "4", "meaning": "How many steps."}]
    schema = json.loads(distill("plugins", "show", "turbo", "--json-schema")[1])
    assert schema["additionalProperties"] is False
    assert schema["properties"]["steps"]["description"] == "How many steps."


def test_show_of_a_broken_plugin_says_what_is_known(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("acme-broken", "raise RuntimeError")
    status, out, _ = distill("plugins", "show", "broken")
    assert status == 0
    assert "status       failed: RuntimeError" in out
    status, out, err = distill("plugins", "show", "broken", "--json-schema")
    assert (status, out) == (2, "")
    assert (
        "the options of 'broken' are not known: acme-broken 1.0 (entry point broken = acme_broken) failed: Runtime"
        in err
    )


def test_show_of_an_unknown_name_is_an_error_with_the_closest(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    status, out, err = distill("plugins", "show", "turbi")
    assert (status, out) == (2, "")
    assert "There is no plugin 'turbi'." in err
    assert "Did you mean 'turbo'?" in err


@pytest.mark.parametrize("name", ["distill-method-turbo", "Distill_Method_Turbo", "TURBO"])
def test_show_takes_the_packages_name_too_and_any_case(plugin_site: PluginSite, distill: Command, name: str) -> None:
    plugin_site.add("distill-method-turbo", method_plugin("turbo"))
    status, out, _ = distill("plugins", "show", name)
    assert status == 0
    assert "summary      the method turbo" in out


def test_show_of_a_name_that_two_have_is_both_and_no_schema(plugin_site: PluginSite, distill: Command) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    cards = json.loads(distill("plugins", "show", "acme-pack", "--json")[1])
    assert [card["name"] for card in cards] == ["acme", "turbo"]
    assert distill("plugins", "show", "acme-pack")[1].count("acme-pack 1.0") == 2
    status, out, err = distill("plugins", "show", "acme-pack", "--json-schema")
    assert (status, out) == (2, "")
    assert "leave out the others with --no-plugin" in err


def test_check_imports_targets_and_exits_1_on_a_failure(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "acme-pack,acme-hollow,acme-broken")
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    plugin_site.add("acme-hollow", method_plugin("hollow"))
    plugin_site.add("acme-broken", "raise RuntimeError")
    status, out, _ = distill("plugins", "check")
    lines = out.splitlines()
    assert status == 1
    assert "model  acme (acme-pack 1.0): ok" in lines
    assert "method turbo (acme-pack 1.0): ok" in lines
    assert "-      broken (acme-broken 1.0): failed: RuntimeError" in lines
    (hollow,) = (line for line in lines if "hollow" in line)
    assert hollow.startswith("method hollow (acme-hollow 1.0): failed: cannot load 'no.such:Target'")


def test_check_as_json_has_a_row_per_plugin(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "acme-pack,acme-broken")
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    plugin_site.add("acme-broken", "raise RuntimeError")
    status, out, _ = distill("plugins", "check", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 1
    assert (rows["turbo"]["failed"], rows["turbo"]["outcome"]) == (False, "ok")
    assert (rows["broken"]["failed"], rows["broken"]["outcome"]) == (True, "failed: RuntimeError")


def test_check_shows_the_plugins_own_frames_when_asked_for(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "acme-hollow")
    monkeypatch.setenv("DISTILL_TRACEBACK", "1")
    source = method_plugin("hollow").replace("no.such:Target", "acme_inside:Target")
    plugin_site.add("acme-hollow", source)
    (plugin_site.root / "acme_inside.py").write_text("def deep():\n    raise RuntimeError('boom')\ndeep()\n")
    status, out, err = distill("plugins", "check")
    assert status == 1
    assert "failed: cannot load 'acme_inside:Target': RuntimeError: boom" in out
    assert "in deep" in err


@pytest.mark.parametrize("target", ["def inspect(path): ...", "class Model: ...", "class Turbo: ..."])
def test_check_fails_on_every_missing_target(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD.replace(target, ""))
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "acme-pack")
    status, out, _ = distill("plugins", "check")
    assert status == 1
    assert out.count("failed: cannot load 'acme_pack:") == 1


def test_check_passes_over_what_is_blocked(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    plugin_site.add("acme-broken", "raise RuntimeError")
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "acme-pack")
    status, out, _ = distill("plugins", "check")
    assert status == 0
    assert "-      broken (acme-broken 1.0): blocked" in out.splitlines()


def test_check_fails_on_options_without_a_schema(plugin_site: PluginSite, distill: Command) -> None:
    source = MODEL_AND_METHOD.replace("steps: int = 4", "steps: type('T', (), {}) = 4").replace(
        "class TurboOptions(Options):",
        "class TurboOptions(Options):\n    model_config = {'arbitrary_types_allowed': True}",
    )
    plugin_site.add("acme-pack", source)
    status, out, _ = distill("plugins", "check")
    assert status == 1
    assert "the JSON Schema of its options raised PydanticInvalidForJsonSchema" in out


def test_matrix_says_what_works_and_why_not(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_site.add("acme-pack", MODEL_AND_METHOD)
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "acme-pack")
    status, out, _ = distill("plugins", "matrix")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    assert lines == [
        "METHOD MODEL WORKS",
        "turbo acme no: pupil needs flow_shift, which acme does not offer",
        "",
        "LATENT SPACE MODELS",
        "acme-128 acme",
    ]
    answer = json.loads(distill("plugins", "matrix", "--json")[1])
    assert answer["fits"][0]["works"] is False
    assert answer["latent_spaces"] == {"acme-128": ["acme"]}


def test_matrix_and_list_without_plugins_say_so(
    plugin_site: PluginSite, distill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_LOAD_PLUGINS", "")
    status, out, err = distill("plugins", "matrix")
    assert (status, out) == (0, "")
    assert err == "nothing to match: no model and no method can be used; see `distill plugins list`\n"
    monkeypatch.setattr("distill_core.plugins.discovery._installed", list)
    status, out, err = distill("plugins", "list")
    assert (status, len(out.splitlines())) == (0, 1)
    assert err.startswith("no plugin is installed; install a model and a method")
