"""The whole fault matrix by one command: each family of faults, how many cases, and what became of them.

``uv run python -m tests.faults.matrix`` takes an hour on two cores, writes each row as it comes, and ends with status 1 if anything failed.
A word after it takes only the families whose name has it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

FAMILIES: Mapping[str, Sequence[str]] = {
    "checkpoints: damage, protocol, several versions": (
        "tests/core/test_integrity.py", "tests/core/test_checkpoints.py", "tests/core/test_blocks.py", "tests/core/test_behind.py",
    ),
    "kills while saving, and a stop at every step": (
        "tests/core/test_kills.py",
        "tests/core/test_resume_table.py",
        "tests/core/test_resuming.py",
    ),
    "4 signals at 18 points; a second one; a closed terminal": ("tests/core/test_arrivals.py", "tests/core/test_stopping.py"),
    "short of time: grace, Slurm": ("tests/core/test_grace.py", "tests/core/test_slurm_script.py"),
    "ranks that die, hang, raise, disagree, are started again": (
        "tests/core/test_ranks.py", "tests/core/test_ranks_resuming.py", "tests/core/test_ranks_leaving.py",
        "tests/core/test_ranks_meeting.py", "tests/core/test_launcher.py", "tests/commands/test_torchrun_restart.py",
    ),
    "what a run rests on; a moved or copied run": (
        "tests/core/test_identity.py", "tests/core/test_moved_run.py", "tests/data/test_data_changes.py",
    ),
    "records, links, pipes, locks, leftovers": ("tests/core/test_records.py", "tests/core/test_run_directory.py"),
    "verify, verify-resume": ("tests/core/test_verify.py", "tests/core/test_verify_resume.py"),
    "800 flipped bits, damaged exports": ("tests/faults/test_flips.py", "tests/wan/test_damaged_exports.py"),
    "full disk and quota": ("tests/core/test_full_disk.py",),
    "NaN and infinity": ("tests/core/test_nonfinite.py",),
    "secrets": ("tests/core/test_secrets.py", "tests/config/test_secret_shapes.py", "tests/config/test_redaction.py"),
    "canaries, hostile folders": (
        "tests/faults/test_canaries.py", "tests/wan/test_hostile_folders.py", "tests/diffusers_layer/test_copied_part.py",
    ),
    "escape sequences, markup, HTML": ("tests/core/test_printable.py",),
    "typos": ("tests/config/test_typos_before_torch.py", "tests/config/test_run_yaml_typos.py"),
    "trackers after a kill": ("tests/core/test_wandb_offline.py",),
}  # fmt: skip
"""What the tests of each family are, by night and by every push."""

HEAD = "| faults | cases | passed | failed | seconds |\n|---|---|---|---|---|"
_COUNT = re.compile(r"(\d+) (passed|failed|error)")


def row(name: str, output: str, seconds: float) -> tuple[str, bool]:
    """A line of the table out of what pytest printed last, and whether all cases passed, of which there is at least one."""
    last = output.rstrip().rpartition("\n")[2]
    counts = {"passed": 0, "failed": 0, "error": 0}
    for number, what in _COUNT.findall(last):
        counts[what] += int(number)
    failed = counts["failed"] + counts["error"]
    cases = counts["passed"] + failed
    return f"| {name} | {cases} | {counts['passed']} | {failed} | {seconds:.0f} |", bool(cases) and not failed


def main(only: str = "") -> int:
    """Print the table. Returns the exit status."""
    print(HEAD, flush=True)
    good = True
    for name, tests in FAMILIES.items():
        if only not in name:
            continue
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-m",
            "slow or nightly or not (slow or nightly)",
            *tests,
        ]
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        line, passed = row(name, ended.stdout, time.monotonic() - began)
        print(line, flush=True)
        if not passed or ended.returncode:
            good = False
            print(ended.stdout[-3000:], ended.stderr[-1000:], file=sys.stderr, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
