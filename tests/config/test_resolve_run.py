"""distill_core.config.resolve, .chosen and .checks: a run.yaml against the plugins it names and the folders it points to."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_yaml_specs import FOLDERS, INDEX, PICTURE, TURBO, PictureOptions, TurboOptions
from tests.config.conftest import RUN, Write
from tests.config.resolving import problems_of, resolved, the_problem_of

from distill_core.config.document import write_yaml
from distill_core.config.resolve import open_run
from distill_core.errors import ConfigError, Problem


def test_a_right_run_resolves_to_everything_that_building_it_takes(write: Write) -> None:
    run = resolved(write(RUN + "pipeline_config: {flow_shift: 3}\nmethod_config: {denoising_steps: [9, 3]}\n"))
    assert run.method is TURBO
    assert run.method_options == TurboOptions(denoising_steps=(9.0, 3.0))
    assert run.models == {"picture": PICTURE}
    assert run.model_options == {"picture": PictureOptions(flow_shift=3.0)}
    assert run.facts == {"student": FOLDERS["small"], "teacher": FOLDERS["small"]}
    assert run.demands.attention == {"student": ("dense",)}
    assert run.loaded.text.startswith(RUN)


def test_facts_and_lead_follow_the_order_of_the_method(write: Write) -> None:
    lines = RUN.splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    run = resolved(write("".join(lines)))
    assert list(run.config.roles) == ["teacher", "student"]
    assert list(run.facts) == ["student", "teacher"]
    assert run.lead == "student"


def test_the_mapping_has_every_default_and_reads_back_to_the_same_config(write: Write, tmp_path: Path) -> None:
    run = resolved(
        write(RUN), "tracking.run_name='1e-6'", "validation.prompts=['no', '0o7', \"a\\nb\"]", "roles.student.ema={}"
    )
    mapping = run.to_mapping()
    assert mapping["method_config"] == {
        "denoising_steps": [999, 500],
        "attn_kind": "dense",
        "samples": "all",
        "tiles": "off",
        "cut": None,
        "from_latents": False,
    }
    assert mapping["pipeline_config"]["tiling"] == {"rows": 2, "overlap": 0.25}
    assert mapping["roles"]["teacher"]["family"] == "picture"
    assert mapping["training"]["betas"] == [0.9, 0.999]
    again = tmp_path / "resolved.yaml"
    again.write_text(write_yaml(mapping), encoding="utf-8")
    assert resolved(again).config == run.config
    assert resolved(again).to_mapping() == mapping


def test_a_tilde_is_the_home_directory(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = resolved(write(RUN), "data.path=~/clips", "output_dir=~/out").config
    assert (config.data.path, config.output_dir) == ("/home/someone/clips", "/home/someone/out")


def test_a_tilde_in_the_path_of_a_role_is_expanded_before_it_is_inspected(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert the_problem_of(write(RUN), "roles.teacher.path=~/model").message.find("/home/someone/model is no folder") > 0


# plugins and their options


def test_unknown_names_are_problems_where_they_stand(write: Write) -> None:
    text = (
        RUN.replace("picture", "pitcure")
        .replace("turbo", "trubo")
        .replace("{path: small}", "{path: small, family: sketc}")
    )
    problems = problems_of(write(text))
    assert [(problem.key, problem.line) for problem in problems] == [
        ("recipe.method", 1), ("recipe.family", 1), ("roles.student.family", 3),
    ]  # fmt: skip
    assert "Did you mean 'turbo'?" in problems[0].message
    assert "Did you mean 'picture'?" in problems[1].message


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        (
            "method_config: {denoising_step: [1]}",
            "method_config.denoising_step",
            "unknown key; did you mean `denoising_steps`?",
        ),
        (
            "method_config: {flow_shift: 3}",
            "method_config.flow_shift",
            "unknown key here; `flow_shift` belongs under `pipeline_config`",
        ),
        (
            "method_config: {seed: 3}",
            "method_config.seed",
            "unknown key here; `seed` belongs under `training`",
        ),
        (
            "pipeline_config: {tiling: {row: 3}}",
            "pipeline_config.tiling.row",
            "unknown key; did you mean `rows`?",
        ),
        (
            "pipeline_config: {tiling: {rows: 0}}",
            "pipeline_config.tiling.rows",
            "must be a whole number, at least 1; got 0",
        ),
        (
            "pipeline_config: {flow_shift: .nan}",
            "pipeline_config.flow_shift",
            "must be a number, above 0, or null; got .nan (not a number)",
        ),
        (
            "method_config: {samples: some}",
            "method_config.samples",
            'must be a whole number, or `all`; got the text "some"',
        ),
        (
            "method_config: {samples: 1.5}",
            "method_config.samples",
            "must be a whole number, or `all`; got 1.5",
        ),
        (
            "method_config: {denoising_steps: [1, 2]}",
            "method_config.denoising_steps",
            "the steps must descend; sort them from high to low",
        ),
        (
            "method_config: {denoising_steps: [2, x]}",
            "method_config.denoising_steps.1",
            'must be a number; got the text "x"',
        ),
        (
            "pipeline_config: {sampler_kind: odd}",
            "pipeline_config.sampler_kind",
            'must be one of `ode`, `sde`; got the text "odd"; did you mean `ode`?',
        ),
    ],
)
def test_options_are_checked_by_the_plugin_that_owns_them(write: Write, section: str, key: str, message: str) -> None:
    assert the_problem_of(write(f"{RUN}{section}\n")) == Problem(key, message, 10)


def test_a_fault_within_the_one_alternative_of_the_right_kind_is_named_itself(write: Write) -> None:
    problem = the_problem_of(write(RUN + "method_config:\n  tiles: {row: 3}\n"))
    assert problem == Problem("method_config.tiles.row", "unknown key; did you mean `rows`?", 11)


def test_the_message_of_a_plugins_own_error_is_shown(write: Write) -> None:
    problem = the_problem_of(write(RUN + "method_config:\n  tiles: {rows: 10}\n"))
    assert problem == Problem("method_config.tiles", "too many rows of tiles; got a mapping (rows)", 11)


def test_all_that_does_not_go_together_is_told_at_once_a_problem_each(write: Write) -> None:
    problems = problems_of(write(RUN + "pipeline_config:\n  tiling: {rows: 1, overlap: 2}\n"))
    assert problems == (
        Problem("pipeline_config.tiling", "overlap leaves a tile nothing; set it below 1", 11),
        Problem("pipeline_config.tiling", "one row overlaps nothing; set overlap: 0", 11),
    )


def test_a_value_that_is_none_of_several_mappings_is_one_problem(write: Write) -> None:
    problem = the_problem_of(write(RUN + "method_config:\n  cut: {row: 3, columns: x}\n"))
    assert problem == Problem("method_config.cut", "must be a mapping, or null; got a mapping (row, columns)", 11)


def test_a_missing_option_is_named_even_where_its_section_is_missing(write: Write) -> None:
    problem = the_problem_of(write(RUN.replace("picture", "needy")))
    assert (problem.key, problem.message) == ("pipeline_config.width", "is required: The width.")


def test_an_override_of_an_option_is_checked_like_the_file(write: Write) -> None:
    problem = the_problem_of(write(RUN), "method_config.denoisng_steps=[3]")
    assert (
        problem.message == "override 'method_config.denoisng_steps=[3]': unknown key; did you mean `denoising_steps`?"
    )


def test_another_family_runs_on_its_defaults(write: Write) -> None:
    text = RUN.replace("{path: small, trainable: false}", "{path: small, trainable: false, family: picture}").replace(
        "family: picture,", "family: needy,"
    )
    run = resolved(write(text), "roles.student.family=picture", "pipeline_config.width=3")
    assert run.model_options["picture"] == PictureOptions()
    assert run.config.pipeline_config == {"width": 3}


def test_another_family_that_needs_options_is_refused_at_the_role(write: Write) -> None:
    problem = next(each for each in problems_of(write(RUN), "roles.student.family=needy") if "student" in each.key)
    assert problem.key == "roles.student.family"
    assert "`pipeline_config` belongs to 'picture'" in problem.message


def test_demands_that_raise_are_a_problem_not_a_crash(write: Write) -> None:
    problem = the_problem_of(write(RUN.replace("turbo", "broken")))
    assert (problem.key, problem.message) == (
        "method_config",
        "the demands of method 'broken' raised KeyError: 'demands'",
    )


# folders


def test_a_folder_that_is_no_model_is_a_problem_at_its_role(write: Write) -> None:
    problem = the_problem_of(write(RUN.replace("{path: small}", "{path: smal}")))
    assert problem == Problem(
        "roles.student.path", "smal is no folder of pictures; name one of small, deep, wide, wordy, shifted", 3
    )


def test_an_inspection_that_raises_is_a_problem_not_a_crash(write: Write) -> None:
    message = the_problem_of(write(RUN.replace("{path: small}", "{path: explosive}"))).message
    assert message == (
        "model 'picture': looking at explosive raised ZeroDivisionError: the plugin's own fault; DISTILL_TRACEBACK=1 shows where"
    )


def test_a_family_whose_code_is_not_there_is_a_problem(write: Write) -> None:
    problems = problems_of(write(RUN.replace("picture", "lost")))
    assert [problem.key for problem in problems] == ["roles.student.path", "roles.teacher.path"]
    assert "cannot load 'no_such_module:inspect'" in problems[0].message


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("wide", ["channels 3 against 2"]),
        ("shifted", ["other normalisation statistics"]),
        ("wordy", ["features of a text token 24 against 16", "text tokens 64 against 32"]),
    ],
)
def test_roles_of_different_spaces_are_refused(write: Write, folder: str, words: list[str]) -> None:
    problem = the_problem_of(write(RUN), f"roles.teacher.path={folder}")
    assert problem.key == "roles.teacher.path"
    assert "does not share the space of role 'student'" in problem.message
    assert all(word in problem.message for word in words)


# data


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ("num_frames: 80", "num_frames", "1 more than a multiple of 4 does, e.g. 77 or 81"),
        ("num_frames: 2", "num_frames", "e.g. 1 or 5"),
        ("num_frames: 81, num_latent_t: 20", "num_latent_t", "contradict num_frames: 81, which are 21"),
        ("num_height: 100", "num_height", "a multiple of 16 does, e.g. 96 or 112"),
        ("num_width: 8", "num_width", "a multiple of 16 does, e.g. 16"),
        ("num_latent_t: 21", "num_latent_t", "makes 21 positions; the model of role 'student' has 20"),
        ("num_frames: 81", "num_frames", "makes 21 positions"),
        ("num_height: 336", "num_height", "makes 21 positions"),
    ],
)
def test_sizes_that_do_not_fit_the_model_are_refused(write: Write, data: str, key: str, words: str) -> None:
    problem = the_problem_of(write(RUN.replace("  path: clips", f"  {{path: clips, {data}}}")))
    assert (problem.key, problem.line) == (f"data.{key}", 6)
    assert words in problem.message


def test_frames_must_fit_the_largest_patch_of_all_roles(write: Write) -> None:
    problem = the_problem_of(write(RUN), "roles.teacher.path=deep", "data.num_frames=17")
    assert problem.key == "data.num_frames"
    assert "5 latent frames are not a multiple of the model's patch of 2" in problem.message


def test_sizes_that_fit_are_taken(write: Write) -> None:
    data = "data={path: clips, num_frames: 77, num_latent_t: 20, num_height: 320, num_width: 16}"
    assert resolved(write(RUN), data).config.data.num_latent_t == 20


# together


def test_faults_that_do_not_depend_on_each_other_come_together(write: Write) -> None:
    text = (
        RUN.replace("{path: small}", "{path: gone}").replace(", trainable: false", "")
        + "method_config: {warp: 1}\npipeline_config: {x: 1}\n"
    )
    assert [(problem.key, problem.line) for problem in problems_of(write(text), "data.num_frames=2")] == [
        ("roles.student.path", 3), ("roles.teacher.trainable", 4), ("method_config.warp", 10), ("pipeline_config.x", 11),
        ("data.num_frames", None),
    ]  # fmt: skip


def test_open_run_reports_faults_of_the_schema_and_of_the_options_together(write: Write) -> None:
    text = (
        RUN.replace("max_train_steps: 10", "max_train_steps: 0\n  seed: 1\n  seed: 2")
        + "method_config: {denoising_step: [1]}\n"
    )
    with pytest.raises(ConfigError) as caught:
        open_run(write(text), ["recipe.family=pictur"], INDEX)
    assert [problem.key for problem in caught.value.problems] == [
        "training.max_train_steps", "training.seed", "method_config.denoising_step", "recipe.family",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "line"),
    [("training: {max_train_steps: 0}", 7), ("training: {max_train_steps: 9, seeed: 1}", 7), ("trainin: {}", 7)],
)
def test_a_fault_of_the_schema_hides_none_of_roles_folders_sizes_and_options(
    write: Write, fault: str, line: int
) -> None:
    text = (
        RUN.replace("training:\n  max_train_steps: 10", fault)
        .replace("{path: small}", "{path: gone}")
        .replace(", trainable: false", "")
        .replace("  path: clips", "  {path: clips, num_frames: 2}")
        + "method_config: {warp: 1}\n"
    )
    with pytest.raises(ConfigError) as caught:
        open_run(write(text), [], INDEX)
    found = {(problem.key, problem.line) for problem in caught.value.problems}
    assert found >= {
        ("roles.student.path", 3), ("roles.teacher.trainable", 4), ("data.num_frames", 6), ("method_config.warp", 9),
    }  # fmt: skip
    assert line in {problem.line for problem in caught.value.problems}


def test_what_depends_on_a_faulty_key_is_not_blamed_too(write: Write) -> None:
    text = RUN.replace("  path: clips", "  {path: clips, num_frames: 2, num_latent_t: none}")
    with pytest.raises(ConfigError) as caught:
        open_run(write(text), ["comparison={rows: {a: {role: student}}}", "roles.student={}"], INDEX)
    assert {problem.key for problem in caught.value.problems} == {"data.num_latent_t", "roles.student.path"}


def test_open_run_is_load_run_and_resolve(write: Write) -> None:
    path = write(RUN)
    assert open_run(path, ["training.seed=3"], INDEX) == resolved(path, "training.seed=3")


@pytest.mark.parametrize(
    "text", ["recipe: 3\n", "recipe: {family: [x]}\nroles: 3\nmethod_config: 3\n", "roles: {a: 3}\nrecipe:\n"]
)
def test_open_run_survives_sections_of_the_wrong_kind(write: Write, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_run(write(text), [], INDEX)
    assert {"data", "training", "output_dir"} <= {problem.key for problem in caught.value.problems}


TWO_FAMILIES = RUN.replace("family: picture,", "family: needy,").replace(
    "{path: small", "{path: small, family: picture"
)


def test_each_family_of_a_run_has_options_of_its_own(write: Write, tmp_path: Path) -> None:
    run = resolved(write(TWO_FAMILIES), "pipeline_config.width=3", "families.picture.flow_shift=5")
    assert run.model_options["picture"] == PictureOptions(flow_shift=5.0)
    mapping = run.to_mapping()
    assert mapping["families"] == {"picture": PictureOptions(flow_shift=5.0).model_dump(mode="json")}
    again = tmp_path / "resolved.yaml"
    again.write_text(write_yaml(mapping), encoding="utf-8")
    assert resolved(again).to_mapping() == mapping


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("families.picture.flow_shif=5", "families.picture.flow_shif", "did you mean `flow_shift`"),
        ("families.picture.flow_shift=-1", "families.picture.flow_shift", "-1"),
        ("families.needy.width=5", "families.needy", "is recipe.family: write its options under pipeline_config"),
        ("families.lost.flow_shift=5", "families.lost", "no role is of family 'lost'; give one `family: lost`"),
    ],
)
def test_options_of_a_family_that_has_none_or_no_role_are_named(
    write: Write, override: str, key: str, words: str
) -> None:
    problem = the_problem_of(write(TWO_FAMILIES), "pipeline_config.width=3", override)
    assert problem.key == key
    assert words in problem.message
