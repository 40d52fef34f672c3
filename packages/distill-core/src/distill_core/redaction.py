"""Taking secrets out of what leaves a run: its YAML, its command line, its logs, what trackers upload.

Two rules. A value under a name that says it is secret (``api_key``, ``HF_TOKEN``, ``password``) goes, whatever it looks like; a value that
looks like a known kind of secret goes wherever it stands. Everything else stays, character by character. This is a safety net: it
cannot know a secret of unknown shape under an innocent name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "«redacted»"

_SECRET_WORDS = (
    r"token|secret|secrets|password|passwords|passwd|passphrase|pwd|credential|credentials|authorization|cookie|"
    r"(?:api|access|private|secret|signing|encryption|ssh|account|auth|service)[_.-]?keys?"
)
_NAME = rf"[A-Za-z0-9_.-]{{0,80}}?(?:{_SECRET_WORDS})"
_HARMLESS_NAME = re.compile(
    r"(?:.*[_.-])?(?:pad|bos|eos|unk|cls|sep|mask|image|video|text|start|stop|begin|end|special|additional|next|num|max|min|per)[_-]token",
    re.IGNORECASE,
)
"""Tokens of a tokenizer, which are no secrets."""
_HARMLESS_VALUE = re.compile(r"(?:null|~|true|false|None|True|False)?[,}\])\s]*")

_QUOTED = r'"(?:\\.|[^"\\\n])*"' + r"|'(?:''|[^'\n])*'"
_KEY_VALUE = re.compile(
    rf"""
    (?P<text>(?<![^\s\[{{(,=:])(?:{_QUOTED})(?![ ]*:))               # a quoted text that is no key: left alone
    | (?:(?P<block>(?:^|(?<=\n))[ \t]*(?:\#[ \t]*|-[ ]+)*)|(?P<flow>(?<=[{{,])[ ]*))      # where a key can stand in YAML or JSON
      (?P<quote>["']?)(?P<name>{_NAME})(?P=quote)(?P<colon>[ ]*:(?:[ \t]+|(?=\n|$)))
      (?:(?P<value>{_QUOTED})|(?P<open>(?(block)[^\n]*?(?=[,}}\]]*[ \t]*(?:[ ]\#[^\n]*)?(?:\n|$))|[^,}}\]\n]*)))
    """,
    re.IGNORECASE | re.VERBOSE,
)
_ASSIGNMENT = re.compile(
    rf"(?P<name>(?<![\w.-])(?:--?)?{_NAME})(?P<sign>[ ]?=[ ]?)(?P<value>{_QUOTED}|[^\s&'\"]+)"
    rf"|(?P<flag>(?<!\S)--?{_NAME})(?P<gap>[ ]+)(?P<argument>{_QUOTED}|[^\s-]\S*)",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<name>\bauthorization[\"']?[ ]*[:=][ ]*[\"']?)(?P<value>[^\s\"'«]+(?:[ ]+[^\s\"',}]+)?)", re.IGNORECASE
)
_HEX_KEY = re.compile(
    r"(?P<name>(?<![\w.-])[\w.-]{0,80}?(?:key|wandb|login|auth)[\w.-]{0,80}[\"']?[ ]*[:=]?[ ]*[\"']?)\b[0-9a-f]{40}\b",
    re.IGNORECASE,
)
_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,20}://)[^\s/'\"]*:[^\s/'\"]*@", re.IGNORECASE)
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"
    r"(?:(?:(?!-----BEGIN).)*?-----END [A-Z0-9 ]*PRIVATE KEY-----"
    r"|(?:(?:\s|\\n)*[A-Za-z0-9+/=]{16,})*)",  # one whose end is cut off
    re.DOTALL,
)
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"sk-(?=[\w-]*[A-Z0-9])[\w-]{12,}"  # OpenAI, Anthropic and those who follow them
    r"|hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"  # GitHub, GitLab
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|xox[a-z]-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[\w-]{35}"  # Google
    r"|wandb_v[0-9]+_\w{16,}"  # W&B
    r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"  # a JSON web token
    r")|(?<=[Bb]earer )(?=\S*[A-Z0-9])[A-Za-z0-9._~+/=-]{12,}"
)


def redact_text(text: str) -> str:
    """``text`` with every secret replaced by «redacted»; its lines, layout and all that is no secret stay as they are."""
    return _redact_line(_KEY_VALUE.sub(_redact_key_value, _under_secret_keys(text)))


def redact_mapping(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data without its secrets, as new mappings and lists; values that are not plain data are taken over as they are."""
    return {key: _redact_all(value) if _is_secret(key) else _redact_value(value) for key, value in data.items()}


def _redact_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact_mapping(value)
    if isinstance(value, list | tuple):
        return _redact_items(value)
    return _redact_line(value) if isinstance(value, str) else value


def _redact_items(items: Iterable[Any]) -> list[Any]:
    """A list, e.g. a command line: what follows a flag such as ``--token`` goes too."""
    redacted: list[Any] = []
    after_flag = False
    for item in items:
        redacted.append(REDACTED if after_flag and isinstance(item, str) else _redact_value(item))
        after_flag = isinstance(item, str) and item.startswith("-") and _is_secret(item)
    return redacted


def _redact_all(value: Any) -> Any:
    """A value under a secret name: null and booleans say nothing, all else goes."""
    return value if value is None or isinstance(value, bool) else REDACTED


def _is_secret(name: str) -> bool:
    return re.fullmatch(_NAME, name, re.IGNORECASE) is not None and _HARMLESS_NAME.fullmatch(name) is None


def _redact_line(text: str) -> str:
    """What needs no knowledge of YAML: key blocks, headers, URLs, assignments, flags, known shapes."""
    text = _PEM.sub(_redact_lines_of, text)
    text = _HEADER.sub(rf"\g<name>{REDACTED}", text)
    text = _URL.sub(rf"\g<scheme>{REDACTED}@", text)
    text = _ASSIGNMENT.sub(_redact_assignment, text)
    text = _HEX_KEY.sub(rf"\g<name>{REDACTED}", text)
    return _SHAPES.sub(REDACTED, text)


def _redact_lines_of(match: re.Match[str]) -> str:
    """A key block: its lines keep their number and indentation."""
    return re.sub(r"(?m)^([ \t]*)\S.*$", rf"\g<1>{REDACTED}", match[0])


def _redact_assignment(match: re.Match[str]) -> str:
    name, kept, value = (
        (match["flag"], match["gap"], match["argument"]) if match["flag"] else match.group("name", "sign", "value")
    )
    if not _is_secret(name) or _HARMLESS_VALUE.fullmatch(value):
        return match[0]
    return f"{name}{kept}{REDACTED}"


def _redact_key_value(match: re.Match[str]) -> str:
    value = match["value"] if match["value"] is not None else match["open"]
    if (
        match["text"] is not None
        or not _is_secret(match["name"])
        or _HARMLESS_VALUE.fullmatch(value)
        or value in ("|", ">")
    ):
        return match[0]
    return match[0][: match.end("colon") - match.start()] + REDACTED


_KEY_LINE = re.compile(
    rf"(?P<indent>[ ]*(?:-[ ]+)*)[\"']?(?P<name>{_NAME})[\"']?[ ]*:(?:[ ]|$)(?P<value>.*)", re.IGNORECASE
)


def _under_secret_keys(text: str) -> str:
    """Redact the lines that belong to a secret key above them: block scalars, continued text, nested mappings and lists."""
    lines = text.split("\n")
    inside: int | None = None  # the column of the secret key that the lines belong to
    for number, line in enumerate(lines):
        content = line.lstrip(" ")
        if inside is not None and content:
            column = len(line) - len(content)
            if column > inside or (column == inside and content.startswith("- ")):
                lines[number] = " " * column + ("- " if content.startswith("- ") else "") + REDACTED
                continue
            inside = None
        match = _KEY_LINE.match(line)
        if match is not None and _is_secret(match["name"]):
            inside = len(match["indent"])
    return "\n".join(lines)
