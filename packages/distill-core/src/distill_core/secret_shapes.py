"""How the keys of well-known services look: the list that redaction goes by. To add a service, add a line, and an example to its test.

A shape begins with what only that service's keys begin with. Keys without such a beginning (bare hexadecimal, base64) are known by the
name that they stand under, which :mod:`distill_core.redaction` sees to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

SHAPES: Mapping[str, str] = MappingProxyType(
    {
        "Adafruit": r"aio_[A-Za-z0-9]{28}",
        "age": r"AGE-SECRET-KEY-1[0-9A-Z]{20,}",
        "Airtable": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{32,}",
        "Alibaba": r"LTAI[A-Za-z0-9]{12,}",
        "Anthropic, OpenAI and those who follow them": r"sk-(?=[\w-]*[A-Z0-9])[\w-]{12,}",
        "Atlassian": r"ATATT3[\w=-]{20,}",
        "AWS": r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        "Cerebras": r"csk-[a-z0-9]{20,}",
        "Databricks": r"dapi[0-9a-f]{32}(?:-\d)?",
        "DigitalOcean": r"do[opr]_v1_[0-9a-f]{32,}",
        "Docker": r"dckr_[a-z]+_[\w-]{20,}",
        "Doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{20,}",
        "Dropbox": r"sl\.[A-Za-z0-9][\w-]{60,}",
        "Figma": r"figd_[\w-]{20,}",
        "Fireworks": r"fw_[A-Za-z0-9]{20,}",
        "GitHub": r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}",
        "GitLab": r"gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent|oas)-[\w.-]{16,}",
        "Google": r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}",
        "Grafana": r"gl(?:sa|c)_[A-Za-z0-9+/=_]{20,}",
        "Groq": r"gsk_[A-Za-z0-9]{20,}",
        "HashiCorp": r"hv[sbr]\.[\w-]{20,}|[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}",
        "Heroku": r"HRKU-[\w-]{20,}",
        "Hugging Face": r"hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}",
        "JSON web tokens": r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",
        "Kaggle": r"KGAT_[0-9a-f]{20,}",
        "Linear": r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}",
        "Mailchimp": r"[0-9a-f]{32}-us\d{1,2}",
        "Modal": r"a[ks]-[A-Za-z0-9]{22}",
        "Netlify": r"nf[pcoub]_[A-Za-z0-9]{20,}",
        "New Relic": r"NR(?:AK|JS|II|IQ)-[A-Za-z0-9-]{20,}",
        "Notion": r"ntn_[A-Za-z0-9]{30,}|secret_[A-Za-z0-9]{43}",
        "npm": r"npm_[A-Za-z0-9]{30,}",
        "NVIDIA": r"nvapi-[\w-]{20,}",
        "Perplexity": r"pplx-[A-Za-z0-9]{20,}",
        "PlanetScale": r"pscale_(?:tkn|pw|oauth)_[\w.-]{20,}",
        "Postman": r"PMAK-[0-9a-f]{24}-[0-9a-f]{20,}",
        "Pulumi": r"pul-[0-9a-f]{40}",
        "PyPI": r"pypi-[\w-]{20,}",
        "Replicate": r"r8_[A-Za-z0-9]{20,}",
        "RubyGems": r"rubygems_[0-9a-f]{20,}",
        "RunPod": r"rpa_[A-Za-z0-9]{20,}",
        "SendGrid": r"SG\.[\w-]{16,}\.[\w-]{16,}",
        "Sentry": r"sntry[su]_[\w+/=-]{20,}",
        "Shopify": r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",
        "Slack": r"xox[a-z]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}",
        "Square": r"sq0[a-z]{3}-[\w-]{20,}|EAAA[\w-]{56,}",
        "Stripe": r"[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[\w+/=]{20,}",
        "Supabase": r"sb(?:p|_secret)_[\w-]{20,}",
        "Tailscale": r"tskey-[\w-]{16,}",
        "Telegram": r"\d{8,10}:AA[\w-]{33}",
        "Together": r"tgp_v1_[\w-]{20,}",
        "Twilio": r"SK[0-9a-f]{32}",
        "W&B": r"wandb_v[0-9]+_\w{16,}",
        "xAI": r"xai-[A-Za-z0-9]{20,}",
    }
)
"""A regular expression for the keys of each service."""

KNOWN = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(SHAPES.values())})")
"""A key of any of them, where a word can begin."""
