"""Each planted fault of a family is found, by the rule that it breaks, with a message that says what to do; the toy without it passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distill_core.plugins.specs import ModelSpec
from distill_core.testing.contracts import ContractError, check_model
from distill_core.testing.toy_spec import TOY, write_toy_model

FAULTS = [
    ("DrawsLatents", "global randomness", "draw from a torch.Generator of its own"),
    ("HalfLatents", "encode_video", "give float32 on the CPU"),
    ("PadsCaptions", "encode_caption", "mask the padding, or encode one by one"),
    ("CountsLetters", "count_tokens", "count as the encoder does"),
    ("KeepingAdapterFamily", "encoders released", "let the encoder go"),
    ("EveryStepAdapterFamily", "unconditional", "encode the negative prompt once, and keep it"),
    ("OneNegativeAdapterFamily", "unconditional", "len() is 1 instead of 2"),
    ("DropsAllAdapterFamily", "drop_condition", "drop where the mask is true alone"),
    ("AllUnconditionalAdapterFamily", "unconditional_where", "put that where the mask is true, and there alone"),
    ("EmptyForNegativeAdapterFamily", "unconditional_where", "a row under its condition beside one under its"),
    ("OtherWordsAdapterFamily", "encode_condition", "prompts, and rows whose captions say the same"),
    ("NeedsLatentsAdapterFamily", "prepare_condition", "raised AttributeError"),
    ("StuckAdapterFamily", "select", "select picks the conditions at its indices"),
    ("Bfloat16AdapterFamily", "predict", "give float32 of the latents' shape"),
    ("BatchNormAdapterFamily", "batches", "nothing of a neighbour"),
    ("DetachingAdapterFamily", "features", "do not detach what a hook catches"),
    ("FlatFeaturesAdapterFamily", "features", "give float32 [B, T', D, H', W'] = [2, 4, 16, 4, 4]"),
    ("PerTimestepAdapterFamily", "along", "it is per unit of σ"),
    ("NoStreamAdapterFamily", "stream", "fill Prediction.stream"),
    ("FirstFrameAdapterFamily", "frame_timesteps", "give each token its frame's"),
    ("BothWaysAdapterFamily", "blocks", "no block sees a later one"),
    ("NoisyContextAdapterFamily", "clean", "they see it clean"),
    ("WritingAdapterFamily", "predict", "clone before working in place"),
    ("ForgivingAdapterFamily", "attention", "'unheard-of' attention it answers all the same"),
    ("NoGradientAdapterFamily", "frozen", "does not require grad"),
    ("AnyStreamAdapterFamily", "stream", "raise StreamError"),
    ("SharesWeights", "load_modules", "load a copy for each"),
    ("ForgetsItsCall", "gradients", "is put back for the second run"),
    ("SmallFramesAdapterFamily", "decode_latents", "give uint8 [2, 13, 16, 16, 3]"),
    ("OtherPicturesAdapterFamily", "decode_pixels", "both show one picture in [0, 1]"),
    ("GraphlessAdapterFamily", "encode_pixels", "a perceptual loss trains through them"),
]
OF_SAMPLING = [
    ("LeavesEvalModeFamily", "eval mode restored", "put each back into the mode in which it was"),
    ("OneSeedForAllFamily", "sample (one step)", "draw its noise from its own seed"),
    ("OneGeneratorFamily", "sample (one step)", "a generator of its own"),
    ("NoGradForTheCallerFamily", "sample (one step)", "torch.no_grad outlasts the sampler"),
    ("UphillFamily", "sampler's refusal", "denoising_grid refuses them"),
    ("ExportsInPlace", "export (one step)", "exporting changes the role's weights"),
    ("ForgetsHow", "export (one step)", "record both, so that it is sampled so"),
    ("ExportsTheBase", "export (one step)", "levels of 255 off the role's own"),
    ("RaisesAnything", "export (one step)", "refuse what no pipeline can follow by a ModelFolderError"),
    ("RefusesLate", "export (one step)", "settle everything before writing"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_toy_model(tmp_path_factory.mktemp("models") / "toy"))


def found(folder: str, **changes: Any) -> dict[str, str]:
    """The faults of a toy family that is changed in a way, by rule."""
    spec: ModelSpec = replace(TOY, **changes)
    with pytest.raises(ContractError) as caught:
        check_model(spec, folder, frames=(13, 16, 16))
    return {fault.rule: fault.message for fault in caught.value.faults}


@pytest.mark.parametrize(("family", "rule", "message"), FAULTS, ids=[family for family, *_ in FAULTS])
def test_a_planted_fault_is_found_by_its_rule(folder: str, family: str, rule: str, message: str) -> None:
    faults = found(folder, build=f"tests.testing.faulty_models:{family}")
    assert message in faults[rule], faults


@pytest.mark.parametrize(("family", "rule", "message"), OF_SAMPLING, ids=[family for family, *_ in OF_SAMPLING])
def test_a_planted_fault_of_a_sampler_or_an_export_is_found(folder: str, family: str, rule: str, message: str) -> None:
    faults = found(folder, build=f"tests.testing.faulty_sampling:{family}")
    assert message in faults[rule], faults


def test_a_look_that_imports_torch_is_too_heavy(folder: str) -> None:
    faults = found(folder, inspect="tests.testing.faulty_models:inspect")
    assert "imports torch; read JSON and headers in tests.testing.faulty_models" in faults["inspect without torch"]


def test_a_look_that_raises_anything_or_takes_anything_is_no_refusal(folder: str) -> None:
    faults = found(folder, inspect="tests.testing.faulty_looks:trusting")
    assert "inspect takes a path that is absent for a folder of the family" in faults["inspect refuses"]
    faults = found(folder, inspect="tests.testing.faulty_looks:careless")
    assert "inspect of a path that is absent raises FileNotFoundError" in faults["inspect refuses"]


def test_parts_that_the_spec_does_not_declare_are_refused_by_the_adapter(folder: str) -> None:
    faults = found(folder, operations=TOY.operations - {"until", "frame_timesteps"})
    assert "until it answers all the same" in faults["undeclared parts"]
    assert "frame_timesteps it answers all the same" in faults["undeclared parts"]


def test_an_operation_that_is_declared_is_there(folder: str) -> None:
    faults = found(folder, operations=TOY.operations | {"encode_sound"})
    assert "the core does not know; an own one has a dot" in faults["declared operations"]
    faults = found(folder, operations=TOY.operations | {"acme.depth"})
    assert "the adapter has none of Extends" in faults["declared operations"]


def test_settling_twice_is_settling_once(folder: str) -> None:
    faults = found(folder, settle=lambda facts, _: replace(facts, text_length=facts.text_length + 1))
    assert "settle changes facts that are settled already" in faults["inspect twice"]


def test_completing_the_options_changes_no_facts(folder: str) -> None:
    faults = found(folder, complete=lambda facts, options: {"flow_shift": 1.0})
    assert "complete fills in what the folder says, no more" in faults["inspect twice"]
