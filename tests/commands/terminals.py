"""A terminal of its own for a script: what it would show a person."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def shown(script: str, stdout: int | None = None, **variables: str) -> str:
    """What a Python script shows on a terminal that is its stderr, and its stdout too if that is None."""
    reader, writer = pty.openpty()
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "TERM": "xterm", **variables}
    target = writer if stdout is None else stdout
    with subprocess.Popen(command, stdout=target, stderr=writer, env=environment) as process:
        os.close(writer)
        text = b""
        try:
            while part := os.read(reader, 4096):
                text += part
        except OSError:  # Linux says so when the other side has closed
            pass
        os.close(reader)
    assert process.returncode == 0, text.decode()
    return text.decode()
