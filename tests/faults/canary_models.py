"""What of a model's folder canaries are planted in, and plugins that no run names. The folder is a tiny pipeline of Wan's."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill_core.cli import main
from distill_model_wan.testing import make_tiny_pipeline
from tests.faults.canaries import Canary, fresh
from tests.faults.canary_inputs import Bomb, Plant
from tests.faults.flips import here

SIZE = ("--num-frames", "5", "--height", "16", "--width", "16", "--steps", "1", "--guidance", "1")
CODE = ("custom.py", "modeling_custom.py", "pipeline.py", "__init__.py", "tokenization_custom.py")
TOKENIZER, *NETWORKS = (
    "tokenizer/tokenizer_config.json",
    "text_encoder/config.json",
    "vae/config.json",
    "transformer/config.json",
)
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")
QUANTIZED = ("custom", "bitsandbytes", "quark")
PICKLES = (
    "transformer/diffusion_pytorch_model.bin",
    "text_encoder/pytorch_model.bin",
    "vae/diffusion_pytorch_model.pth",
    "tokenizer/tokenizer.pkl",
)


def model_canaries(root: Path) -> list[Canary]:
    """Code, pickles, kernels, classes and templates in a pipeline's folder; plugins."""
    base, folder = make_tiny_pipeline(root / "wan" / "base"), root / "wan" / "hostile"

    def sampling() -> None:
        shutil.rmtree(root / "sampled", ignore_errors=True)
        main(["sample", str(folder), "--prompt", "red", *SIZE, "--output", str(root / "sampled")])

    here(lambda: main(["sample", str(base), "--prompt", "red", *SIZE, "--output", str(root / "sampled")]))

    def edited(file: str, **changes: Any) -> Plant:
        def plant(_: str, code: str) -> None:
            place = fresh(base, folder) / file
            for name in CODE:
                for beside in (place.parent, folder):
                    (beside / name).write_text(f"{code}\nclass Custom: ...\n")
            content = json.loads(place.read_text())
            place.write_text(
                json.dumps({**content, **json.loads(json.dumps(changes).replace("CODE", code.replace('"', "'")))})
            )

        return plant

    def beside(file: str, *gone: str) -> Plant:
        def plant(shell: str, _: str) -> None:
            fresh(base, folder)
            (folder / file).write_bytes(pickle.dumps(Bomb(os.system, shell)))
            for name in gone:
                (folder / name).unlink()

        return plant

    found = [
        Canary("model folder", name, plant, sampling) for name, plant in {**_edits(edited), **_pickles(beside)}.items()
    ]
    return [*found, *_plugins(root, base)]


def _edits(edited: Callable[..., Plant]) -> dict[str, Plant]:
    """JSON that asks for code."""
    reference = {"AutoModel": "custom.Custom", "AutoTokenizer": ["custom.Custom", None]}
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% CODE %}"
    plants = {f"auto_map in {file}": edited(file, auto_map=reference) for file in (TOKENIZER, *NETWORKS)}
    for file in NETWORKS:
        plants |= {f"{key} in {file}": edited(file, **{key: "evil/kernel"}) for key in KERNELS}
        for method in QUANTIZED:
            config = {"quant_method": method, "modules": "custom.Custom"}
            plants[f"quantization_config {method} in {file}"] = edited(file, quantization_config=config)
    parts = {
        "a module beside": {"transformer": ["custom", "Custom"]},
        "a class that is a module": {"text_encoder": ["transformers", "utils"]},
        "a class that is a function": {"text_encoder": ["transformers", "pipeline"]},
        "a scheduler of the folder": {"scheduler": ["custom", "Custom"]},
        "a custom pipeline": {"_class_name": ["pipeline", "Custom"]},
        "a custom pipeline's name": {"custom_pipeline": "pipeline"},
    }
    return {
        **plants,
        **{f"model_index.json: {name}": edited("model_index.json", **changes) for name, changes in parts.items()},
        "a kernel in a config inside": edited(NETWORKS[0], text_config={"attn_implementation": "evil/kernel"}),
        "a tokenizer's class": edited(TOKENIZER, tokenizer_class="custom.Custom"),
        "a tokenizer's class of the folder": edited(TOKENIZER, tokenizer_class="CustomTokenizer", auto_map=reference),
        "a chat template": edited(TOKENIZER, chat_template=template),
        "_class_name of a part": edited(NETWORKS[-1], _class_name="custom.Custom"),
    }


def _pickles(beside: Callable[..., Plant]) -> dict[str, Plant]:
    """Pickles beside the weights, in their place, and under their name."""
    transformer, encoder = "transformer/diffusion_pytorch_model", "text_encoder/"
    return {
        **{f"a pickle beside: {name}": beside(name) for name in PICKLES},
        "a pickle alone, transformer": beside(f"{transformer}.bin", f"{transformer}.safetensors"),
        "a pickle alone, text encoder": beside(f"{encoder}pytorch_model.bin", f"{encoder}model.safetensors"),
        "a pickle named safetensors": beside("vae/diffusion_pytorch_model.safetensors"),
    }


def _plugins(root: Path, base: Path) -> list[Canary]:
    """An installed plugin whose method no run names; and one that is blocked, spec and all."""
    site = root / "site"

    def plant(shell: str, code: str) -> None:
        shutil.rmtree(site, ignore_errors=True)
        info = site / "other_plugin-1.0.dist-info"
        info.mkdir(parents=True)
        spec = (
            "from distill_core.plugins import MethodSpec, Options, hookimpl\nPLUGIN_API = 2\n@hookimpl\n"
            "def distill_register_methods(registry):\n"
            '    registry.add(MethodSpec("other", "another method", Options, "other_target:Thing", roles={}))\n'
        )
        (site / "other_plugin.py").write_text(spec)
        (site / "other_target.py").write_text(code)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[distill]\nother = other_plugin\n")

    def blocked(shell: str, code: str) -> None:
        plant(shell, code)
        (site / "other_plugin.py").write_text(code)

    def sampling() -> None:
        sys.path.insert(0, str(site))
        main(["sample", str(base), "--prompt", "red", *SIZE, "--output", str(root / "plugged")])

    def listing() -> None:
        sys.path.insert(0, str(site))
        os.environ["DISTILL_BLOCK_PLUGINS"] = "other-plugin"
        main(["plugins"])

    return [
        Canary("plugins not named", "a method of no run", plant, sampling),
        Canary("plugins not named", "a blocked one", blocked, listing),
    ]
