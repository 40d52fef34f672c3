"""Loading one part of a pipeline folder by its class's ``from_pretrained``, which would fill what is missing with random numbers."""

from __future__ import annotations

from typing import Any

import torch

from distill_core.errors import ModelFolderError
from distill_model_wan.folder import WanFolder
from distill_model_wan.hub import fetch
from distill_model_wan.quiet import quietly
from distill_model_wan.weights import check_weights


def load_part(kind: Any, folder: WanFolder, part: str, dtype: torch.dtype) -> Any:
    """An instance of ``kind``, a diffusers or transformers class, with the weights of ``part``, fetched first where it is a hub's.

    ``Any``: the classes of the two libraries have no common type. Raises ModelFolderError for weights that are not those of config.json.
    """
    fetch(folder.path, folder.hub_id, part)
    check_weights(folder.path / part)
    # from_pretrained draws initial values before it reads the real ones: the global random state is put back.
    with quietly(), torch.random.fork_rng(devices=[]):
        model, found = kind.from_pretrained(
            folder.path, subfolder=part, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    if found["missing_keys"]:  # a version of the class that has tensors which published folders lack
        missing = ", ".join(sorted(found["missing_keys"]))
        raise ModelFolderError(
            f"{folder.path / part} lacks {missing}, which the installed {kind.__name__} has; install another diffusers or "
            "transformers, or fetch the folder again"
        )
    return model
