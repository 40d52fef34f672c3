"""Prints what becomes of inputs as people bring them: the appendix of docs/data.md. `uv run python -m tools.data_cases`

A topic is a module of tests/data with a list of cases, which are tested one by one there. Add a module to TOPICS.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.data import caption_cases, parquet_cases, video_cases
from tests.data.cases import Case, Topic

TOPICS: tuple[Topic, ...] = (video_cases.TOPIC, caption_cases.TOPIC, parquet_cases.TOPIC)
MOST = 200
"""Characters of what is said that the table shows."""


def row(case: Case, said: str) -> str:
    """A line of the table."""
    shown = " ".join(said.split()).replace("`", "'").replace("|", "\\|")
    return f"| {case.brought} | `{shown if len(shown) <= MOST else shown[:MOST] + ' …'}` |"


def main() -> None:
    """Make every input, give it to the commands, and print what they say."""
    for topic in TOPICS:
        print(f"### {topic.title}\n\n| what is brought | what becomes of it |\n|---|---|")
        for case in topic.cases:
            with TemporaryDirectory() as folder:
                print(row(case, topic.outcome(case, Path(folder))), flush=True)
        print()


if __name__ == "__main__":
    main()
