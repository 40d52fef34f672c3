"""Fault L4: secrets do not survive distill_core.redaction; everything else does, character by character."""

from __future__ import annotations

import string
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from distill_core.redaction import REDACTED, redact_mapping, redact_text

WORD = string.ascii_letters + string.digits


def _word(length: int, alphabet: str = WORD) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=length, max_size=length)


def _key_block(body: str) -> str:
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


SHAPES = {
    "openai": _word(32).map(lambda word: f"sk-proj-A1{word}"),
    "anthropic": _word(32).map(lambda word: f"sk-ant-api03-{word}"),
    "hugging face": _word(34).map(lambda word: f"hf_{word}"),
    "github": _word(36).map(lambda word: f"ghp_{word}"),
    "github fine-grained": _word(40).map(lambda word: f"github_pat_11{word}"),
    "gitlab": _word(20).map(lambda word: f"glpat-{word}"),
    "aws": _word(16, string.ascii_uppercase + string.digits).map(lambda word: f"AKIA{word}"),
    "slack": _word(24).map(lambda word: f"xoxb-123-{word}"),
    "google": _word(35).map(lambda word: f"AIza{word}"),
    "wandb": _word(40).map(lambda word: f"wandb_v1_{word}"),
    "web token": _word(20).map(lambda word: f"eyJ{word}.eyJ{word}.{word}"),
    "key block": _word(64).map(_key_block),
}
PLACES = (
    "{}",
    "note: {}",
    'note: "{}"',
    "a: [x, {}, y]",
    "a: {{b: {}, c: 1}}",
    "# {}",
    "Traceback: ValueError('{}')",
    "distill run x.yaml a.b={}",
    "--note {} --x 1",
    "https://host/path?x={}&y=1",
    '{{"note": "{}"}}',
    "first line\n  second {} end",
)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_a_secret_of_known_shape_survives_nowhere(shape: str, data: st.DataObject) -> None:
    secret, place = data.draw(SHAPES[shape]), data.draw(st.sampled_from(PLACES))
    text = place.format(secret)
    redacted = redact_text(text)
    leak = secret.split("\n")[1] if "\n" in secret else secret
    assert leak not in redacted
    assert REDACTED in redacted
    assert redacted.count("\n") == text.count("\n")
    assert leak not in str(redact_mapping({"note": secret, "list": [{"x": text}], "argv": ("run", f"a={secret}")}))


NAMES = (
    "token", "hf_token", "HF_TOKEN", "secret", "client_secret", "password", "db.passwd", "api_key", "apiKey", "WANDB_API_KEY", "apikey",
    "access_key", "aws_secret_access_key", "private-key", "credential", "credentials", "Authorization", "authToken",
)  # fmt: skip
VALUES = st.text(string.ascii_letters + string.digits + "!$%&*+-./:;<=>?@^_|~", min_size=8, max_size=20).filter(
    lambda text: not set(text) <= set("-.:;")
)
KEY_PLACES = (
    "{name}: {value}",
    "  {name}: {value}  # the {name}",
    "- {name}: {value}",
    '{name}: "{value}"',
    "'{name}': '{value}'",
    "# {name}: {value}",
    '{{"x": 1, "{name}": "{value}"}}',
    "{{x: 1, {name}: '{value}', y: 2}}",
    "{name}: |\n  {value}",
    "{name}:\n- {value}\n- x",
    "{name}:\n  inner: {value}",
    "a:\n  {name}: &anchor {value}\n",
    "--{name} '{value}'",
    "--{name}='{value}' --x",
    "export {name}='{value}'",
)


@pytest.mark.parametrize("name", NAMES)
@given(value=VALUES, place=st.sampled_from(KEY_PLACES))
def test_a_value_under_a_secret_name_does_not_survive(name: str, value: str, place: str) -> None:
    text = place.format(name=name, value=value)
    redacted = redact_text(text)
    assert value not in redacted
    assert redacted.count("\n") == text.count("\n")
    assert redact_mapping({name: value, "inner": [{name: [value]}]}) == {name: REDACTED, "inner": [{name: REDACTED}]}


@given(user=VALUES, password=VALUES)
def test_user_and_password_of_an_address_do_not_survive(user: str, password: str) -> None:
    user, password = user.replace("/", "").replace(":", "") + "u1", password.replace("/", "") + "p1"
    redacted = redact_text(f"path: s3+https://{user}:{password}@host:80/x")
    assert redacted == f"path: s3+https://{REDACTED}@host:80/x"


def test_forty_hex_digits_go_under_a_key_and_stay_under_a_commit() -> None:
    digits = "0123456789abcdef0123456789abcdef01234567"
    assert redact_text(f"wandb_key: {digits}\ncommit: {digits}") == f"wandb_key: {REDACTED}\ncommit: {digits}"


@pytest.mark.parametrize("header", ["Bearer abc", "Basic dXNlcjpw", "Token hunter2"])
def test_what_an_authorization_header_carries_does_not_survive(header: str) -> None:
    text = f"DEBUG curl -H 'Authorization: {header}' https://host/x"
    assert redact_text(text) == f"DEBUG curl -H 'Authorization: {REDACTED}' https://host/x"
    assert redact_mapping({"log": text}) == {"log": redact_text(text)}


def test_what_follows_a_secret_flag_goes_too() -> None:
    assert redact_mapping({"argv": ["run", "--api-key", "hunter2", "x.yaml"]}) == {
        "argv": ["run", "--api-key", REDACTED, "x.yaml"]
    }


ORDINARY = """\
# a comment: the token of our esteem
recipe: {family: wan, method: dmd2}
roles:
  student: {path: Wan-AI/Wan2.1-T2V-1.3B-Diffusers, trainable: true}
  teacher:
    path: /data/models/sk-image/checkpoints-v2.1
training:
  learning_rate: 1.0e-6
  betas: [0.9, 0.999]
  token_length: 512
  max_tokens: 4096
  tokenizer: google/umt5-xxl
  pad_token: <pad>
  eos_token: "</s>"
  num_token: 3
  token: null
  secret_santa: 2024-12-24
validation:
  prompts:
    - "a secret garden"
    - a secret garden, and in it the password to happiness
    - 'the password: a film in 3 acts'
    - "keys, tokens, secrets: all in a drawer"
    - it's a key-value store
  seeds: [0, 1]
commit: 0123456789abcdef0123456789abcdef01234567
url: https://github.com/org/repo.git
git: git+ssh://git@github.com/org/repo
time: 12:30:00
email: someone@example.org
"""


def test_an_ordinary_run_yaml_survives_character_by_character() -> None:
    assert redact_text(ORDINARY) == ORDINARY
    assert redact_mapping(yaml.safe_load(ORDINARY)) == yaml.safe_load(ORDINARY)


PLAIN_WORDS = st.sampled_from(
    [
        "a",
        "red",
        "square",
        "moves",
        "left",
        "secret",
        "garden",
        "token",
        "keys",
        "password",
        "over",
        "sk",
        "hf",
        "eyes",
        "author",
        "cookie",
    ]
)


@given(st.lists(PLAIN_WORDS, min_size=1, max_size=12).map(" ".join))
def test_captions_survive(caption: str) -> None:
    text = f'caption: "{caption}"\nprompts:\n  - {caption}\n'
    assert redact_text(text) == text
    assert redact_mapping({"caption": caption, "prompts": [caption]}) == {"caption": caption, "prompts": [caption]}


@given(st.floats() | st.integers() | st.booleans() | st.none())
def test_numbers_survive(value: object) -> None:
    text = yaml.safe_dump({"learning_rate": value, "length": [value]})
    assert redact_text(text) == text
    assert str(redact_mapping({"x": value})["x"]) == str(value)


@pytest.mark.parametrize(
    "text",
    [
        "a: {token: hunter2hunter2, b: 2}\n",
        "token: 'it''s # x'\nb: 2\n",
        "a: {\n  token: hunter2,\n  b: 2}\n",
        "credentials:\n- one\n- two\nb: 2\n",
        "credentials:\n  - {user: x}\nb: 2\n",
        "password: |\n  one\n\n  two\nb: 2\n",
        "password: &p hunter2\nb: 2\n",
    ],
)
def test_redacted_yaml_is_still_yaml_with_the_same_keys(text: str) -> None:
    before, after = yaml.safe_load(text), yaml.safe_load(redact_text(text))
    assert list(after) == list(before)
    assert after.get("a", after)["b"] == 2


def test_a_redacted_text_stays_as_it_is() -> None:
    once = redact_text(
        "token: hunter2\nnote: hf_" + "aB3" * 10 + "\nurl: https://u:p@h/\nAuthorization: Bearer abcDEF123456\n"
    )
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "piece", ["a", "a.b-c_", "token", "sk-", "eyJ", "a: b\n", "{a: ", '"', "://", "-----BEGIN PRIVATE KEY-----x"]
)
def test_the_time_grows_no_faster_than_the_text(piece: str) -> None:
    started = time.process_time()
    redact_text(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 5  # a tenth of a second, unless a pattern is quadratic
