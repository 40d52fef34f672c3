"""Taking secrets out of what leaves a run: its logs, and what trackers upload. What the run itself reads back is never redacted.

Two rules. A value under a name that says it is secret (``api_key``, ``HF_TOKEN``, ``password``) goes, whatever it looks like; a value that
looks like a known kind of secret goes wherever it stands. Everything else stays, character by character. This is a safety net: it
cannot know a secret of unknown shape under an innocent name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from distill_core.secret_shapes import KNOWN

REDACTED = "«redacted»"

_SECRET_WORDS = (
    r"token|secret|secrets|password|passwords|passwd|passphrase|passcode|pwd|credential|credentials|creds|authorization|cookie|dsn|"
    r"connection[_.-]?string|conn[_.-]?str|webhook|webhook[_.-]?url|"
    r"(?:api|access|private|secret|signing|encryption|ssh|account|auth|service|license|master|shared)[_.-]?keys?"
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
_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,20}://)[^\s/'\"]*:[^\s/'\"]*@"
    r"|(?P<web>\b(?:https?|wss?|git\+https?)://)[^\s/'\"@]+@",  # without a colon: a token, but for ssh's git@
    re.IGNORECASE,
)
_SIGNED_URL = re.compile(r"(?P<name>[?&](?:[\w-]*-)?(?:sig|signature)=)[^&\s'\"]+", re.IGNORECASE)
_WEBHOOK = re.compile(
    r"(?P<host>\bhttps://(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|"
    r"[\w.-]+\.webhook\.office\.com/))[^\s'\"]+",
    re.IGNORECASE,
)
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"
    r"(?:(?:(?!-----BEGIN).)*?-----END [A-Z0-9 ]*PRIVATE KEY-----"
    r"|(?:(?:\s|\\n)*[A-Za-z0-9+/=]{16,})*)",  # one whose end is cut off
    re.DOTALL,
)
_BEARER = re.compile(r"(?<=[Bb]earer )(?=\S*[A-Z0-9])[A-Za-z0-9._~+/=-]{12,}")


def redact_text(text: str) -> str:
    """``text`` with every secret replaced by «redacted»; its lines, layout and all that is no secret stay as they are."""
    return _redact_line(_KEY_VALUE.sub(_redact_key_value, _under_secret_keys(text)))


def redact_mapping(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data without its secrets, as new mappings and lists; values that are not plain data are taken over as they are."""
    return {
        _redact_line(key): _redact_all(value) if _is_secret(key) else _redact_value(value)
        for key, value in data.items()
    }


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
    text = _URL.sub(lambda match: f"{match['scheme'] or match['web']}{REDACTED}@", text)
    text = _SIGNED_URL.sub(rf"\g<name>{REDACTED}", text)
    text = _WEBHOOK.sub(rf"\g<host>{REDACTED}", text)
    text = _ASSIGNMENT.sub(_redact_assignment, text)
    text = _HEX_KEY.sub(rf"\g<name>{REDACTED}", text)
    return KNOWN.sub(REDACTED, _BEARER.sub(REDACTED, text))


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
