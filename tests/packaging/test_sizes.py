"""A family of diffusers pipelines is small: what others have too is the layer's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tools.sizes import code_lines, families, of_family

MOST = 200
MORE: Mapping[str, int] = {"wan": 1299}
"""Of Wan, with its sparse attention: it has seven members, text and pictures of its own, and its VAE with the graph."""


@pytest.mark.parametrize("family", families())
def test_a_family_is_small(family: str) -> None:
    found, most = of_family(family), MORE.get(family, MOST)
    total = sum(found.values())
    assert total <= most, "\n".join(
        (f"{family} has {total} lines of code, {most} are allowed", *map(str, found.items()))
    )


def test_a_line_of_code_is_one_that_a_docstring_and_a_comment_are_not() -> None:
    source = (
        '"""A\nmodule."""\n\nX = """a\nb"""  # two lines\n"""An attribute."""\n# nothing\n\n'
        'def f():\n    """It."""\n    return (\n        1\n    )\n'
    )
    assert code_lines(source) == 2 + 1 + 3
