"""docs/coming-from.md, from the same tables as the translation: ``python -m distill_importers.coming_from > docs/coming-from.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from distill_importers.tables import Default, Key, Trainer
from distill_importers.trainers import TRAINERS

HEAD = """# Coming from another trainer

This page is generated: `python -m distill_importers.coming_from > docs/coming-from.md`.

```
distill import CONFIG --output run.yaml
```

writes the run.yaml that a config of {titles} is, with a remark at every key that does not mean the same here, and what has no
counterpart at its end. It reads the file and executes nothing of it. Whose it is, it finds out; `--from` says it.

Conventions that differ between trainers, though the keys are called alike:

- **Guidance of the teacher.** s of `uncond + s·(cond - uncond)`: `guidance_scale` here, FastGen, LightX2V, FastVideo since March 2026. w of
  `cond + w·(cond - uncond)`, s = w + 1: `real_score_guidance_scale` here, CausVid, Self-Forcing, FastVideo before.
- **Timesteps** are in [0, 1000] here; FastGen's are in [0, 1].
- **Steps.** A step here updates the critic once, and the student too on every `generator_update_interval`-th. So do FastVideo, CausVid and
  Self-Forcing; the critic of FastGen rests on the student's steps (`critic_rests`); an iteration of LightX2V is one update of the student
  and several of the critic.
- **Flow shift.** One of the run, and one of the scores of DMD2 where `score_timesteps.shift` says so; some trainers have
  one of each.
- **EMA** decays per update of the role here; per iteration elsewhere, which under an interval of 5 is the fifth power.
- **Learning-rate schedules** are over a role's own updates here, and end with the run.
- **Batches.** `train_batch_size` is that of all processes here (`--nproc-per-node`), and of each GPU elsewhere: multiply it by their
  number, or, in one process, `gradient_accumulation_steps`.
- **Models** are folders, or hub ids, in diffusers format.
"""


def page() -> str:
    """The whole page."""
    titles = ", ".join(trainer.title for trainer in TRAINERS[:-1]) + f" or {TRAINERS[-1].title}"
    return "\n".join([HEAD.format(titles=titles), *(line for trainer in TRAINERS for line in _section(trainer))])


def _section(trainer: Trainer) -> Iterator[str]:
    yield f"## {trainer.title}\n\n{trainer.preface}\n"
    yield "| there | here | convention |\n|---|---|---|"
    yield from (_row(key) for key in trainer.keys)
    if trainer.defaults:
        yield "\nBy itself, where its config is silent:\n"
        yield "| here | why |\n|---|---|"
        yield from (_default(default) for default in trainer.defaults)
    yield ""


def _row(key: Key) -> str:
    theirs = "any other" if key.theirs == "**" else f"`{key.theirs}`"
    ours = ", ".join(f"`{name}`" for name in key.ours) or "–"
    return _cells(theirs, ours, key.note or ("the same" if key.ours else "nothing to say"))


def _default(default: Default) -> str:
    value = "" if callable(default.value) else f": {'null' if default.value is None else default.value}"
    return _cells(f"`{default.ours}{value}`", default.note)


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main() -> None:
    """Print the page."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
