"""distill_core.config.document and .compose: what is read, what is refused, and which line is named."""

from __future__ import annotations

import pytest

from distill_core.config.compose import MAX_DEPTH, MAX_VALUES
from distill_core.config.document import Document, read_document
from distill_core.errors import ConfigError, Problem

TEXT = """\
recipe:
  family: x

roles:
  first:
    path: a
  second: {path: b,
    trainable: no}
prompts:
- one
- |
  two
  lines
- three
"""


def _fatal(text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        read_document(text, "run.yaml")
    (problem,) = caught.value.problems
    return problem


def _problem(text: str) -> tuple[str, str, int | None]:
    (problem,) = read_document(text, "run.yaml").problems
    return problem.key, problem.message, problem.line


def test_data_are_plain_data() -> None:
    assert read_document(TEXT, "x").data == {
        "recipe": {"family": "x"},
        "roles": {"first": {"path": "a"}, "second": {"path": "b", "trainable": "no"}},
        "prompts": ["one", "two\nlines\n", "three"],
    }


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1), (("recipe",), 1), ("recipe.family", 2), ("roles.first.path", 6), ("roles.second", 7), ("roles.second.path", 7),
        ("roles.second.trainable", 8), (("prompts", 0), 10), (("prompts", 1), 11), (("prompts", 2), 14),
        ("roles.first.missing", 5), ("missing", 1), (("prompts", 9), 9), ("recipe.family.deeper", 2),
    ],
)  # fmt: skip
def test_every_path_has_its_line_or_that_of_its_nearest_parent(path: str | tuple[str | int, ...], line: int) -> None:
    assert read_document(TEXT, "x").line(path) == line


def test_an_alias_stands_for_its_anchor_and_has_lines_of_both() -> None:
    document = read_document("a: &x\n  k: 1\nb: *x\n", "x")
    assert document.data == {"a": {"k": 1}, "b": {"k": 1}}
    assert (document.line("b"), document.line("b.k")) == (3, 2)


def test_a_duplicate_key_is_refused_naming_both_lines_and_the_first_value_counts() -> None:
    document = read_document("a:\n  b: 1\n  c: 2\n  b: 3\n", "x")
    (problem,) = document.problems
    assert (problem.key, problem.line) == ("a.b", 4)
    assert "first on line 2" in problem.message
    assert document.data == {"a": {"b": 1, "c": 2}}


def test_all_faults_of_the_yaml_are_found_at_once() -> None:
    document = read_document("a: 1\na: 2\n3: 4\nc: !!python/object:os.system x\nd: *gone\n<<: {}\n", "x")
    assert [problem.line for problem in document.problems] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("tag", ["!!int", "!!python/object/apply:os.system", "!env", "!<tag:example.com,2000:x>"])
def test_tags_are_refused(tag: str) -> None:
    key, message, line = _problem(f"a:\n  b: {tag} 3\n")
    assert (key, line) == ("a.b", 2)
    assert message.startswith(f"the tag `{tag.removeprefix('!<').removesuffix('>')}` is refused")


@pytest.mark.parametrize("key", ["1", "1.5", "true", "null", "~", "? [a]\n  ", "? {a: b}\n  "])
def test_keys_that_are_no_text_are_refused(key: str) -> None:
    where, message, line = _problem(f"a:\n  {key}: 3\n")
    assert (where, line) == ("a", 2)
    assert "is no text" in message


@pytest.mark.parametrize("key", ["on", "no", "'1'", "12:30", '"null"'])
def test_keys_that_are_text_in_yaml_1_2_are_taken(key: str) -> None:
    assert read_document(f"{key}: 3\n", "x").problems == ()


def test_merge_keys_are_refused_with_the_reason() -> None:
    assert "not part of YAML 1.2" in _problem("a: &x {k: 1}\nb: {<<: *x}\n")[1]


@pytest.mark.parametrize("value", ["${HOME}", "x/${env:TOKEN}/y", '"${a.b}"'])
def test_substitutions_are_refused_because_nothing_would_replace_them(value: str) -> None:
    assert "would not be replaced" in _problem(f"path: {value}\n")[1]


def test_a_tab_is_named_as_such() -> None:
    problem = _fatal("a:\n\tb: 1\n")
    assert problem.line == 2
    assert "a tab stands here" in problem.message


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("", "empty", None),
        ("# only a comment\n", "empty", None),
        ("---\n", "empty", None),
        ("- a\n- b\n", "top level is a list", 1),
        ("just text\n", "top level is a single value", 1),
        ("a: [1, 2\n", "not valid YAML", 2),
        ("a: b: c\n", "quotes", 1),
        ("a: 1\n b: 2\n", "not valid YAML", 2),
        ('a: "\\UFFFFFFFF"\n', "not valid YAML", None),
        ("a: 1\nb: \x07\n", "U+0007", 2),
        ("a: @x\n", "not valid YAML", 1),
        ("%YAML 3.0\n---\na: 1\n", "not valid YAML", 1),
    ],
)
def test_what_is_no_run_yaml_is_one_clear_problem(text: str, words: str, line: int | None) -> None:
    problem = _fatal(text)
    assert words in problem.message
    assert problem.line == line


def test_a_second_document_is_refused() -> None:
    assert _problem("a: 1\n---\nb: 2\n")[1:] == (
        "a second document starts here; a run.yaml is one, remove the `---`",
        2,
    )


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert f"more than {MAX_VALUES} values" in _fatal(bomb).message


def test_an_alias_to_what_it_stands_in_is_refused() -> None:
    assert "refers to the value that it stands in" in _problem("a: &x\n  b: *x\n")[1]


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a:\n" + "".join(" " * n + "- \n" for n in range(1, 200))])
def test_nesting_without_end_is_refused(text: str) -> None:
    assert f"more than {MAX_DEPTH} levels" in _fatal(text).message


def test_half_a_surrogate_pair_is_refused() -> None:
    assert "surrogate" in _problem('a: "\\uD800"\n')[1]


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    assert "5000 digits" in _problem(f"a: {'9' * 5000}\n")[1]


def _overridden(path: str, value: object) -> Document:
    return read_document(TEXT, "x").with_override(tuple(path.split(".")), value, f"{path}={value}")


def test_an_override_sets_a_value_and_leaves_the_document_alone() -> None:
    before = read_document(TEXT, "x")
    after = before.with_override(("recipe", "family"), "y", "recipe.family=y")
    assert (before.data["recipe"], after.data["recipe"]) == ({"family": "x"}, {"family": "y"})
    assert after.text == TEXT


def test_an_override_makes_the_mappings_above_it() -> None:
    assert _overridden("new.deep.key", 3).data["new"] == {"deep": {"key": 3}}


def test_an_override_reaches_into_a_list_by_index() -> None:
    assert _overridden("prompts.1", "new").data["prompts"] == ["one", "new", "three"]


@pytest.mark.parametrize("path", ["recipe.family.x", "prompts.3", "prompts.x", "prompts.-1"])
def test_an_override_without_a_place_is_refused(path: str) -> None:
    with pytest.raises(LookupError):
        _overridden(path, 3)


def test_what_an_override_has_set_has_no_line_and_its_problem_names_the_override() -> None:
    document = _overridden("prompts.1", 5)
    assert (document.line(("prompts", 1)), document.line(("prompts", 0))) == (None, 10)
    assert document.problem(("prompts", 1), "fault") == Problem("prompts.1", "override 'prompts.1=5': fault", None)
