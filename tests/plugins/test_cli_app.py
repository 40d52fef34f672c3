"""The root command: global options, exit statuses, and what stays unimported."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_sites import PluginSite, method_plugin

from distill_core import __version__
from distill_core.cli import app as root
from distill_core.cli import main
from distill_core.cli.app import hoisted
from distill_core.cli.leaving import IO_ERROR
from distill_core.errors import DistillError, NonFiniteError


def status_of(*arguments: str) -> int | str | None:
    """The exit status of a command run in this process."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"distill {__version__}\n"


def test_an_argument_is_refused_in_words_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("plan", "run.yaml", "--gpu", "25GB") == 2
    assert "Invalid value for '--gpu': '25GB' is not one of '12GB'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "front"),
    [
        ("plugins list", "plugins list"),
        ("plugins list --no-plugin a", "--no-plugin a plugins list"),
        ("run --no-plugin=a x.yaml --no-plugin b k=v", "--no-plugin=a --no-plugin b run x.yaml k=v"),
        ("--no-plugin a plugins", "--no-plugin a plugins"),
        ("run -- --no-plugin a", "run -- --no-plugin a"),
        ("--no-plugin a run -- --no-plugin b", "--no-plugin a run -- --no-plugin b"),
        ("plugins list --no-plugins a", "plugins list --no-plugins a"),
    ],
)
def test_no_plugin_is_taken_to_the_front(arguments: str, front: str) -> None:
    assert hoisted(arguments.split()) == front.split()


def test_no_plugin_is_inherited_by_child_processes(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-one", method_plugin("one"))
    plugin_site.add("acme-two", method_plugin("two"))
    assert status_of("--no-plugin", "acme-one", "plugins", "list", "--no-plugin", "two") == 0
    assert os.environ["DISTILL_BLOCK_PLUGINS"] == "acme-one,two"
    child = plugin_site.run("plugins", "list")
    assert [line.split()[-1] for line in child.stdout.splitlines() if "acme" in line] == ["blocked", "blocked"]


def test_help_says_what_every_exit_status_means(capsys: pytest.CaptureFixture[str]) -> None:
    status_of("--help")
    said = set(re.findall(r"\d+", capsys.readouterr().out.partition("Exit status:")[2]))
    assert {str(error.exit_code) for error in DistillError.__subclasses__()} <= said
    assert {"0", "1", str(IO_ERROR), "130"} <= said


def raise_in_a_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make ``distill plugins list`` raise."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("distill_core.cli.listing.kept", fail)


def test_a_distill_error_is_its_message_and_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in_a_command(monkeypatch, NonFiniteError("the loss is NaN; lower the learning rate"))
    monkeypatch.delenv("DISTILL_TRACEBACK", raising=False)
    assert status_of("plugins", "list", "--hooks") == 76
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: the loss is NaN; lower the learning rate\n"


def test_the_traceback_is_shown_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in_a_command(monkeypatch, NonFiniteError("the loss is NaN"))
    monkeypatch.setenv("DISTILL_TRACEBACK", "1")
    assert status_of("plugins", "list", "--hooks") == 76
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_traceback_of_a_run_yaml_has_the_frames_of_the_plugin_that_failed(
    plugin_site: PluginSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin_site.add("acme-broken", "def deep():\n    raise RuntimeError('boom')\ndeep()\n")
    (tmp_path / "run.yaml").write_text("recipe: {family: none, method: broken}\n")
    assert status_of("config", "check", str(tmp_path / "run.yaml")) == 2
    assert "in deep" not in capsys.readouterr().err
    monkeypatch.setenv("DISTILL_TRACEBACK", "1")
    assert status_of("config", "check", str(tmp_path / "run.yaml")) == 2
    err = capsys.readouterr().err
    assert "in deep" in err
    assert "recipe.method: the method 'broken' cannot be used: acme-broken 1.0" in err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b.mp4"), "a/b.mp4: No space left on device; free some"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            "/x: Permission denied; name a path that you may use",
        ),
        (OSError(errno.ELOOP, "Too many levels", "/x"), "/x: Too many levels\n"),
        (OSError("the archive is closed"), "the archive is closed\n"),
    ],
)
def test_an_error_of_the_system_is_one_line_with_path_and_remedy_and_status_74(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in_a_command(monkeypatch, error)
    assert status_of("plugins", "list", "--hooks") == 74
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_an_error_on_a_terminal_is_not_read_as_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in_a_command(monkeypatch, NonFiniteError("roles[bold] is wrong"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert status_of("plugins", "list", "--hooks") == 76
    assert "roles[bold] is wrong" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_in_a_command(monkeypatch, KeyboardInterrupt())
    assert status_of("plugins", "list", "--hooks") == 130


@pytest.mark.parametrize(
    "error", [DistillError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), BrokenPipeError()]
)
def test_a_listing_that_is_told_at_once_fails_as_any_command_does(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in_a_command(monkeypatch, error)
    found = [(status_of("plugins", "list", *how), capsys.readouterr().err) for how in ((), ("--hooks",))]
    assert found[0] == found[1]


def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_in_a_command(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["plugins", "list", "--hooks"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_gone_is_no_noise(plugin_site: PluginSite, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "distill_core", "plugins", "list"]
    environment = plugin_site.environment(PYTHONUNBUFFERED=unbuffered)
    child = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "BrokenPipe" not in child.stderr


def test_letters_that_stdout_does_not_have_are_escaped(plugin_site: PluginSite) -> None:
    plugin_site.add("acme-one", method_plugin("one").replace("the method one", "σ ≥ 0"))
    child = plugin_site.run("plugins", "show", "one", PYTHONIOENCODING="ascii")
    assert child.returncode == 0, child.stderr
    assert "summary      \\u03c3 \\u2265 0" in child.stdout


HEAVY = ("torch", "diffusers", "transformers", "wandb", "pyarrow", "av", "numpy")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plugins", "list"], ["plugins", "matrix"], ["plugins", "show", "one"]]
)
def test_nothing_heavy_is_imported(plugin_site: PluginSite, arguments: list[str]) -> None:
    plugin_site.add("acme-one", method_plugin("one"))
    script = (
        "import sys\n"
        "from distill_core.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit as exit_:\n"
        "    assert exit_.code == 0, exit_.code\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script], env=plugin_site.environment(), capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr.splitlines()[-1] == "[]"


def test_the_module_and_the_command_are_one() -> None:
    child = subprocess.run(
        [sys.executable, "-m", "distill_core", "--version"], capture_output=True, text=True, check=False
    )
    assert child.stdout == f"distill {__version__}\n"
    assert root.app.info.name == "distill"
