"""Loading one part of a pipeline folder by its class's ``from_pretrained``, and refusing weights that do not fit it."""

from __future__ import annotations

from typing import Any

import torch

from distill_core.errors import ModelFolderError
from distill_model_wan.folder import WanFolder
from distill_model_wan.hub import fetch
from distill_model_wan.quiet import quietly


def load_part(kind: Any, folder: WanFolder, part: str, dtype: torch.dtype) -> Any:
    """An instance of ``kind``, a diffusers or transformers class, with the weights of ``part``, fetched first where it is a hub's.

    Raises ModelFolderError for tensors that are missing or of another shape than the part's config.json says: loaders fill in
    random numbers, or raise one of several errors.
    """
    fetch(folder.path, folder.hub_id, part)
    where = folder.path / part
    # from_pretrained draws initial values before it reads the real ones: the global random state is put back.
    with quietly(), torch.random.fork_rng(devices=[]):
        try:
            model, found = kind.from_pretrained(folder.path, subfolder=part, dtype=dtype, output_loading_info=True)
        except (RuntimeError, ValueError) as error:
            first = str(error).strip().partition(". ")[0]
            raise ModelFolderError(f"{where} does not fit its own config.json: {first}; fetch it again") from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelFolderError(f"{where} lacks {_listed(missing)}; the folder is incomplete, fetch it again")
    return model


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
