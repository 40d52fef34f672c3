"""The type of a plugin's options. Imports no torch."""

from __future__ import annotations

from pydantic import BaseModel


class Options(BaseModel):
    """The base of a plugin's options in run.yaml: frozen, and a key that it does not define is an error.

    The string under a field is its meaning, shown by ``distill plugins show`` and kept in the JSON Schema.
    """

    model_config = {"frozen": True, "extra": "forbid", "allow_inf_nan": False, "use_attribute_docstrings": True}
