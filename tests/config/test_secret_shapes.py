"""The list of key shapes: every service has an example here, and no example survives redaction."""

from __future__ import annotations

import re
import string

import pytest

from distill_core.redaction import REDACTED, redact_mapping, redact_text
from distill_core.secret_shapes import KNOWN, SHAPES

A = (string.ascii_letters + string.digits) * 2
"""Letters and digits to fill a key with; a real one never stands in this repository."""
HEX = "0123456789abcdef" * 4

EXAMPLES: dict[str, tuple[str, ...]] = {
    "Adafruit": (f"aio_{A[:28]}",),
    "age": (f"AGE-SECRET-KEY-1{'Q9' * 20}",),
    "Airtable": (f"pat{A[:14]}.{HEX}",),
    "Alibaba": (f"LTAI{A[:20]}",),
    "Anthropic, OpenAI and those who follow them": (f"sk-ant-api03-{A[:40]}", f"sk-proj-{A[:40]}", f"sk-or-v1-{HEX}"),
    "Atlassian": (f"ATATT3xFf{A[:40]}=AB",),
    "AWS": ("AKIA" + "Q7" * 8, "ASIA" + "Q7" * 8),
    "Cerebras": (f"csk-{HEX}",),
    "Databricks": (f"dapi{HEX[:32]}", f"dapi{HEX[:32]}-2"),
    "DigitalOcean": (f"dop_v1_{HEX}",),
    "Docker": (f"dckr_pat_{A[:27]}",),
    "Doppler": (f"dp.pt.{A[:40]}", f"dp.st.dev.{A[:40]}"),
    "Dropbox": (f"sl.B{A}",),
    "Figma": (f"figd_{A[:40]}",),
    "Fireworks": (f"fw_{A[:24]}",),
    "GitHub": (f"ghp_{A[:36]}", f"github_pat_{A[:22]}_{A[:59]}"),
    "GitLab": (f"glpat-{A[:20]}", f"gldt-{A[:20]}"),
    "Google": (f"AIza{A[:35]}", f"ya29.{A[:60]}", f"GOCSPX-{A[:28]}"),
    "Grafana": (f"glsa_{A[:32]}_12345678", f"glc_{A[:60]}"),
    "Groq": (f"gsk_{A[:52]}",),
    "HashiCorp": (f"hvs.{A[:40]}", f"{A[:14]}.atlasv1.{A[:62]}"),
    "Heroku": (f"HRKU-{A[:40]}",),
    "Hugging Face": (f"hf_{A[:34]}", f"api_org_{A[:34]}"),
    "JSON web tokens": (f"eyJ{A[:20]}.eyJ{A[:30]}.{A[:43]}",),
    "Kaggle": (f"KGAT_{HEX[:32]}",),
    "Linear": (f"lin_api_{A[:40]}",),
    "Mailchimp": (f"{HEX[:32]}-us21",),
    "Modal": (f"ak-{A[:22]}", f"as-{A[:22]}"),
    "Netlify": (f"nfp_{A[:40]}",),
    "New Relic": (f"NRAK-{A[:27]}",),
    "Notion": (f"ntn_{A[:46]}", f"secret_{A[:43]}"),
    "npm": (f"npm_{A[:36]}",),
    "NVIDIA": (f"nvapi-{A[:64]}",),
    "Perplexity": (f"pplx-{A[:48]}",),
    "PlanetScale": (f"pscale_tkn_{A[:43]}",),
    "Postman": (f"PMAK-{HEX[:24]}-{HEX[:34]}",),
    "Pulumi": (f"pul-{HEX[:40]}",),
    "PyPI": (f"pypi-AgEIcHlwaS5vcmc{A[:60]}",),
    "Replicate": (f"r8_{A[:37]}",),
    "RubyGems": (f"rubygems_{HEX[:48]}",),
    "RunPod": (f"rpa_{A[:40]}",),
    "SendGrid": (f"SG.{A[:22]}.{A[:43]}",),
    "Sentry": (f"sntrys_{A[:60]}", f"sntryu_{HEX}"),
    "Shopify": (f"shpat_{HEX[:32]}",),
    "Slack": (f"xoxb-123456-{A[:24]}", f"xapp-1-{A[:24]}"),
    "Square": (f"sq0atp-{A[:22]}", f"EAAA{A[:60]}"),
    "Stripe": (f"sk_live_{A[:24]}", f"rk_test_{A[:24]}", f"whsec_{A[:32]}"),
    "Supabase": (f"sbp_{HEX[:40]}", f"sb_secret_{A[:30]}"),
    "Tailscale": (f"tskey-auth-{A[:30]}",),
    "Telegram": (f"123456789:AA{A[:33]}",),
    "Together": (f"tgp_v1_{A[:40]}",),
    "Twilio": (f"SK{HEX[:32]}",),
    "W&B": (f"wandb_v1_{A[:40]}",),
    "xAI": (f"xai-{A[:60]}",),
}


def test_every_service_of_the_list_has_an_example_and_stands_in_order() -> None:
    assert EXAMPLES.keys() == SHAPES.keys()
    assert sorted(SHAPES, key=str.casefold) == list(SHAPES)


@pytest.mark.parametrize("service", SHAPES)
def test_a_key_of_a_known_service_survives_nowhere(service: str) -> None:
    for key in EXAMPLES[service]:
        assert re.fullmatch(SHAPES[service], key), key
        assert KNOWN.fullmatch(key), key
        for place in ("{}", "path: /data/{}/x", "'{}'", "a {}, b", "(x={})", "# {}", "{}\n"):
            assert key not in redact_text(place.format(key)), place
        assert redact_mapping({key: key, "list": [key]}) == {REDACTED: REDACTED, "list": [REDACTED]}


@pytest.mark.parametrize(
    ("address", "left"),
    [
        (f"https://{A[:40]}@github.com/x/y", f"https://{REDACTED}@github.com/x/y"),
        ("https://x-access-token@host/x", f"https://{REDACTED}@host/x"),
        ("git+https://tok3n@host/x.git", f"git+https://{REDACTED}@host/x.git"),
        ("postgresql://me:pw@db:5432/x", f"postgresql://{REDACTED}@db:5432/x"),
        ("redis://:pw@cache/0", f"redis://{REDACTED}@cache/0"),
        (
            "https://x.blob.core.windows.net/c?sv=2024&sig=ab%2Bcd%3D&se=1",
            f"https://x.blob.core.windows.net/c?sv=2024&sig={REDACTED}&se=1",
        ),
        ("https://s3/x?X-Amz-Signature=abcdef&y=1", f"https://s3/x?X-Amz-Signature={REDACTED}&y=1"),
        ("https://hooks.slack.com/services/T0/B0/xyz", f"https://hooks.slack.com/services/{REDACTED}"),
        ("https://discord.com/api/webhooks/1/xyz", f"https://discord.com/api/webhooks/{REDACTED}"),
        ("git+ssh://git@github.com/org/repo", "git+ssh://git@github.com/org/repo"),
        ("https://host/path@v2/x?page=2", "https://host/path@v2/x?page=2"),
        ("write to someone@example.org", "write to someone@example.org"),
    ],
)
def test_what_an_address_carries_does_not_survive_and_the_address_does(address: str, left: str) -> None:
    assert redact_text(f"path: {address}") == f"path: {left}"


@pytest.mark.parametrize(
    "name", ["dsn", "SENTRY_DSN", "connection_string", "webhook_url", "passcode", "aws_creds", "license-key"]
)
def test_more_names_that_say_secret(name: str) -> None:
    assert redact_mapping({name: "hunter2"}) == {name: REDACTED}
    assert redact_text(f"{name}: hunter2") == f"{name}: {REDACTED}"


@pytest.mark.parametrize(
    "text",
    [
        "step-00000100",
        "skip-connections-v2",
        "hf_model",
        "task-123",
        "sk-learn",
        "pypi-server",
        "SGD",
        "a.b.c",
        "pat.x",
        "as-is",
        "gsk",
        "csk-a",
    ],
)
def test_ordinary_words_are_no_keys(text: str) -> None:
    assert redact_text(text) == text
