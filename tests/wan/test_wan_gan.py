"""DMD2's GAN on Wan's own features: a run trains with it, and recomputation changes none of its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.wan.replay import Setting, World, losses, weights_hash

OPTIONS = {"generator_update_interval": 2, "gan_weight": 0.05, "gan_r1_weight": 0.1, "gan_layers": [0, 1]}


@pytest.mark.parametrize("variant", ["t2v", "a14b"])
def test_a_run_trains_with_it_and_recomputation_changes_nothing(tmp_path: Path, variant: str) -> None:
    world, hashes = World(tmp_path), []
    for recompute in ("none", "full"):
        training = {"enable_gradient_checkpointing_type": None if recompute == "none" else recompute}
        directory = world.run(recompute, Setting(variant, "dmd2", {}, OPTIONS, training), validate=False)
        hashes.append(weights_hash(directory))
        found = losses(directory)
        assert {"discriminator_loss", "gan_loss", "grad_norm/discriminator"} <= {key for line in found for key in line}
        assert found[0]["grad_norm/discriminator"] > 0
    assert hashes[0] == hashes[1]
