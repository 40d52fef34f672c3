"""distill_core.config.load and .faults: every bad value is one clear problem with its path, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.config.conftest import RUN, Write, problems_of, the_problem, with_line

from distill_core.config.load import MAX_BYTES, load_run, parse_run
from distill_core.errors import ConfigError, Problem


def test_a_right_run_is_loaded_with_its_text_and_defaults(write: Write) -> None:
    loaded = load_run(write(RUN))
    assert (loaded.text, loaded.path.name, loaded.overrides) == (RUN, "run.yaml", ())
    assert loaded.config.roles["student"].trainable
    assert loaded.config.training.betas == (0.9, 0.999)


def test_numbers_of_yaml_1_2_reach_the_config(write: Write) -> None:
    loaded = load_run(
        write(RUN.replace("max_train_steps: 10", "max_train_steps: 010\n  learning_rate: 1e-6\n  weight_decay: 0"))
    )
    assert (loaded.config.training.max_train_steps, loaded.config.training.learning_rate) == (10, 1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rate: fast", 'must be a number, above 0; got the text "fast"'),
        ("learning_rate: '1e-6'", 'must be a number, above 0; got the text "1e-6"; remove the quotes'),
        ("learning_rate: 0", "must be a number, above 0; got 0"),
        ("learning_rate: .nan", "must be a number, above 0; got .nan (not a number)"),
        ("learning_rate: 1e999", "must be a number, above 0; got .inf (or a number too large)"),
        ("learning_rate: -.inf", "must be a number, above 0; got -.inf (or a number too large)"),
        ("learning_rate: true", "must be a number, above 0; got true"),
        ("learning_rate:", "must be a number, above 0; got nothing (null)"),
        ("learning_rate: [1]", "must be a number, above 0; got [1]"),
        ("learning_rate: {a: 1}", "must be a number, above 0; got a mapping (a)"),
        ("cpu_threads: 9999999999", "must be a whole number, at least 1 and at most 1024, or null; got 9999999999"),
        ("seed: 1.0", "must be a whole number, at least 0; got 1.0; write 1"),
        ("seed: true", "must be a whole number, at least 0; got true"),
        ("seed: -1", "must be a whole number, at least 0; got -1"),
        ("seed: 12:30:00", 'must be a whole number, at least 0; got the text "12:30:00"'),
        ("train_batch_size: 0", "must be a whole number, at least 1; got 0"),
        ("max_grad_norm: 0", "must be a number, above 0, or null; got 0"),
        ("betas: [0.9]", "must be a list of 2, each a number, at least 0 and below 1; got [0.9]"),
        ("betas: [0.9, 0.9, 0.9]", "must be a list of 2, each a number, at least 0 and below 1; got [0.9, 0.9, 0.9]"),
        ("betas: 0.9", "must be a list of 2, each a number, at least 0 and below 1; got 0.9"),
        ("precision: fp23", 'must be one of `auto`, `fp32`, `bf16`; got the text "fp23"; did you mean `fp32`?'),
        ("precision: [bf16]", 'must be one of `auto`, `fp32`, `bf16`; got ["bf16"]'),
        ("VSA_sparsity: 1", "must be a number, at least 0 and below 1; got 1"),
    ],
)
def test_a_wrong_value_is_one_problem_that_says_what_is_allowed(write: Write, line: str, message: str) -> None:
    problem = the_problem(write(with_line("training", line)))
    assert (problem.key, problem.message, problem.line) == (f"training.{line.partition(':')[0]}", message, 8)


def test_a_wrong_item_of_a_list_is_named_by_its_index(write: Write) -> None:
    problem = the_problem(write(with_line("training", "betas: [0.9, 1.5]")))
    assert (problem.key, problem.line) == ("training.betas.1", 8)
    assert problem.message == "must be a number, at least 0 and below 1; got 1.5"


@pytest.mark.parametrize("value", ["no", "on", "yes", "Off"])
def test_booleans_of_yaml_1_1_are_text_and_the_message_says_so(write: Write, value: str) -> None:
    problem = the_problem(write(RUN.replace("trainable: false", f"trainable: {value}")))
    assert problem.key == "roles.teacher.trainable"
    assert (
        problem.message
        == f'must be true or false; got the text "{value}"; in YAML 1.2 only true and false are booleans'
    )


def test_a_number_where_text_belongs_asks_for_quotes(write: Write) -> None:
    problem = the_problem(write(RUN.replace("output_dir: out", "output_dir: 2024")))
    assert problem.message == "must be text, not empty; got 2024; put it in quotes"


def test_a_number_where_a_length_of_time_belongs_is_shown_one(write: Write) -> None:
    problem = the_problem(write(RUN + "checkpoint: {every: 100}\n"))
    assert problem.message == "must be text such as `30min`, or null; got 100"


def test_a_text_where_a_list_of_texts_belongs_is_shown_as_one(write: Write) -> None:
    problem = the_problem(write(RUN + "validation: {prompts: a red square}\n"))
    assert problem.message.endswith('got the text "a red square"; write it as [a red square]')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("checkpoint:", "must be a mapping; got nothing (null); write {} for its defaults, or remove the key"),
        ("validation: true", "must be a mapping; got true; write {} for its defaults"),
        ("validation: false", "must be a mapping; got false"),
        ("comparison: true", "must be a mapping, or null; got true"),
    ],
)
def test_a_section_without_keys_is_told_how_it_is_written(write: Write, line: str, message: str) -> None:
    assert the_problem(write(f"{RUN}{line}\n")).message == message


def test_a_section_that_must_have_keys_is_not_told_to_be_empty(write: Write) -> None:
    problem = the_problem(write(RUN.replace("data:\n  path: clips\n", "data:\n")))
    assert problem.message == "must be a mapping; got nothing (null)"


def test_more_steps_than_can_be_counted_through_are_refused_at_once(write: Write) -> None:
    problem = the_problem(write(RUN.replace("max_train_steps: 10", f"max_train_steps: {10**23}")))
    assert problem.message.startswith("must be a whole number, at least 1 and at most 10000000; got 1000")


def test_a_missing_key_is_named_with_its_meaning_at_the_line_of_its_section(write: Write) -> None:
    problem = the_problem(write(RUN.replace("  max_train_steps: 10", "  seed: 3")))
    assert (problem.key, problem.line) == ("training.max_train_steps", 7)
    assert problem.message.startswith("is required: Training steps")


def test_a_missing_section_is_one_problem(write: Write) -> None:
    problem = the_problem(write(RUN.replace("data:\n  path: clips\n", "")))
    assert (problem.key, problem.line) == ("data", 1)


def test_a_section_that_is_no_mapping_is_one_problem(write: Write) -> None:
    problem = the_problem(write(RUN + "tracking: wandb\n"))
    assert problem == Problem("tracking", 'must be a mapping; got the text "wandb"', 10)


def test_a_misspelt_required_key_is_one_problem_not_two(write: Write) -> None:
    problem = the_problem(write(RUN.replace("max_train_steps", "max_train_step")))
    assert problem == Problem("training.max_train_step", "unknown key; did you mean `max_train_steps`?", 8)


@pytest.mark.parametrize(
    ("override", "role", "training"),
    [
        ("training.learning_rate=fast", "small", {"learning_rate": 1e-5, "max_train_steps": 10}),
        ("training.betas=[0.9, 7]", "small", {"betas": (0.9, 0.999)}),
        ("training.max_train_steps=0", "small", {"max_train_steps": 1}),
        ("training=3", "small", {"max_train_steps": 1}),
        ("output_dir=3", "small", {"max_train_steps": 10}),
        ("roles.student={path: 3, weights: fp8}", None, {"max_train_steps": 10}),
        ("roles.student.weights=fp4", "small", {"max_train_steps": 10}),
        ("nonsense=1", "small", {"max_train_steps": 10}),
    ],
)
def test_what_is_right_of_a_wrong_run_can_be_looked_at_all_the_same(
    write: Write, override: str, role: str | None, training: dict[str, object]
) -> None:
    parsed = parse_run(write(RUN), [override])
    assert parsed.problems
    assert parsed.config is not None
    assert role == (parsed.config.roles["student"].path if "student" in parsed.config.roles else None)
    assert parsed.config.roles["teacher"].path == "small"
    assert training.items() <= parsed.config.training.model_dump().items()


@pytest.mark.parametrize("override", ["recipe=3", "recipe.family=3", "roles=3", "roles={}"])
def test_of_a_run_without_plugins_or_roles_too_little_is_right(write: Write, override: str) -> None:
    assert parse_run(write(RUN), [override]).config is None


def test_all_faults_come_at_once_in_the_order_of_the_file(write: Write) -> None:
    text = RUN.replace("method: turbo", "methd: turbo").replace("path: clips", "path: 3\n  path: 4") + "outptu_dir: x\n"
    problems = problems_of(write(text), "training.seed=x", "nonsense")
    assert [(problem.key, problem.line) for problem in problems] == [
        ("recipe.methd", 1), ("data.path", 6), ("data.path", 7), ("outptu_dir", 11), ("", None), ("training.seed", None),
    ]  # fmt: skip


def test_the_message_of_the_error_has_file_line_key_and_fault(write: Write) -> None:
    path = write(RUN.replace("max_train_steps: 10", "max_train_steps: ten"))
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert (
        str(caught.value)
        == f'{path}:8: training.max_train_steps: must be a whole number, at least 1 and at most 10000000; got the text "ten"'
    )


def test_a_secret_in_a_wrong_value_is_not_shown(write: Write) -> None:
    secret = "hf_" + "aB3" * 12
    (problem,) = problems_of(write(RUN), f"training.seed={secret}")
    assert secret not in problem.message
    assert "«redacted»" in problem.message


# overrides


def test_overrides_follow_the_rules_of_the_file_and_may_add_keys(write: Write) -> None:
    overrides = (
        "training.learning_rate=1e-6",
        "validation.prompts=[a, 'no']",
        "tracking.run_name=no",
        "roles.teacher.path=a=b",
    )
    config = load_run(write(RUN), overrides).config
    assert config.training.learning_rate == 1e-6
    assert config.validation.prompts == ("a", "no")
    assert config.tracking.run_name == "no"
    assert config.roles["teacher"].path == "a=b"


def test_an_empty_override_sets_null(write: Write) -> None:
    assert load_run(write(RUN), ["checkpoint.interval="]).config.checkpoint.interval is None


def test_the_last_override_of_a_key_counts(write: Write) -> None:
    loaded = load_run(write(RUN), ["training.seed=1", "training.seed=2"])
    assert loaded.config.training.seed == 2
    assert loaded.overrides == ("training.seed=1", "training.seed=2")


def test_a_fault_is_laid_to_the_override_that_came_last(write: Write) -> None:
    problem = the_problem(write(RUN), "training.seed=1", "training.seed=x", "data.path=y")
    assert problem.message.startswith("override 'training.seed=x': ")


def test_an_override_repairs_a_fault_of_the_file(write: Write) -> None:
    path = write(RUN.replace("max_train_steps: 10", "max_train_steps: x"))
    assert load_run(path, ["training.max_train_steps=3"]).config.training.max_train_steps == 3


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        (
            "training.max_train_steps=x",
            "training.max_train_steps",
            'must be a whole number, at least 1 and at most 10000000; got the text "x"',
        ),
        ("training.max_train_step=3", "training.max_train_step", "unknown key; did you mean `max_train_steps`?"),
        ("training", "", "write it as key.path=value"),
        ("=3", "", "write it as key.path=value"),
        ("a..b=3", "", "write it as key.path=value"),
        ("output_dir.x=3", "output_dir.x", "`output_dir` is 'out', no mapping, so it has no key 'x'"),
        (
            "training.seed=!!int 3",
            "training.seed",
            "the tag `!!int` is refused: a run.yaml holds plain data; remove it",
        ),
        ("data={path: a, path: b}", "data", "the key is given twice, first on line 1; remove one of them"),
    ],
)
def test_a_wrong_override_is_one_problem_that_names_it(write: Write, override: str, key: str, message: str) -> None:
    problem = the_problem(write(RUN), override)
    assert problem == Problem(key, f"override {override!r}: {message}", None)


def test_an_override_that_is_no_yaml_is_named(write: Write) -> None:
    problem = the_problem(write(RUN), "training.betas=[1, 2")
    assert problem.message.startswith("override 'training.betas=[1, 2': not valid YAML")


# files


def test_a_missing_file_is_one_problem(tmp_path: Path) -> None:
    assert the_problem(tmp_path / "no.yaml").message == "there is no such file"


def test_a_folder_is_one_problem(tmp_path: Path) -> None:
    assert "is a folder" in the_problem(tmp_path).message


def test_an_empty_file_is_one_problem(write: Write) -> None:
    assert "the file is empty" in the_problem(write("")).message


def test_bytes_that_are_no_utf_8_are_one_problem_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"recipe: x\nnot: \xff\n")
    assert the_problem(path) == Problem("", "byte 0xff is not UTF-8; save the file as UTF-8 text", 2)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + RUN.encode())
    loaded = load_run(path)
    assert (loaded.config.output_dir, loaded.text) == ("out", "\ufeff" + RUN)


def test_a_file_that_is_far_too_large_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    assert "too many for a run.yaml" in the_problem(path).message


@pytest.mark.parametrize(
    "key",
    [
        "output_dir",
        "data.path",
        "data.mix.0.path",
        "roles.student.path",
        "roles.student.checkpoint.run",
        "roles.student.fixed_loras.0.path",
        "validation.first_frames.0",
    ],
)
@pytest.mark.parametrize("character", ["\\0", "\\n", "\\e", "\\x7f", "\\x85"])
def test_a_path_with_a_control_character_is_refused(write: Write, key: str, character: str) -> None:
    room = {"data.mix.0.path": "data.mix=[{}]", "roles.student.fixed_loras.0.path": "roles.student.fixed_loras=[{}]"}
    room["validation.first_frames.0"] = "validation.first_frames=[x]"
    above = [room[key]] if key in room else []
    (problem,) = problems_of(write(RUN), *above, f'{key}="runs/a{character}b"')
    assert problem.key == key
    assert "a path with the control character U+00" in problem.message
    assert problem.message.endswith("; remove it")
