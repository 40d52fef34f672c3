"""The trainers whose configs are read, in the order in which docs/coming-from.md shows them."""

from __future__ import annotations

from distill_importers.fastgen import FASTGEN
from distill_importers.fastvideo import FASTVIDEO
from distill_importers.fastvideo_rfc import FASTVIDEO_RFC
from distill_importers.forcing import CAUSVID, SELF_FORCING
from distill_importers.lightx2v import LIGHTX2V
from distill_importers.lora_trainers import DIFFUSION_PIPE, MUSUBI
from distill_importers.tables import Trainer
from distill_importers.translation import Reader

TRAINERS: tuple[Trainer, ...] = (
    FASTVIDEO,
    FASTVIDEO_RFC,
    FASTGEN,
    SELF_FORCING,
    CAUSVID,
    LIGHTX2V,
    MUSUBI,
    DIFFUSION_PIPE,
)

fastvideo, fastvideo_rfc, fastgen = Reader(FASTVIDEO), Reader(FASTVIDEO_RFC), Reader(FASTGEN)
self_forcing, causvid, lightx2v = Reader(SELF_FORCING), Reader(CAUSVID), Reader(LIGHTX2V)
musubi_tuner, diffusion_pipe = Reader(MUSUBI), Reader(DIFFUSION_PIPE)
