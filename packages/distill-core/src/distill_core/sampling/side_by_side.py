"""The videos of a request, made by all ranks of a run side by side, and handed to the first one in the request's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from distill_core.protocols.model import Sampler
from distill_core.protocols.validator import SampledVideo, ValidationRequest
from distill_core.ranks.ranks import Ranks
from distill_core.stopping import Stopping
from distill_core.training.answered import sampled
from distill_core.training.roles import RoleHandle

LatentShape = tuple[int, int, int, int]


class SideBySide:
    """Samples one request after another.

    Attributes:
        broken_off: whether the last request was, because a process was asked to leave; all ranks agree.
    """

    def __init__(self, sampler: Sampler, ranks: Ranks, stopping: Stopping) -> None:
        self.sampler = sampler
        self.ranks = ranks
        self.stopping = stopping
        self.broken_off = False

    def videos(self, role: RoleHandle, request: ValidationRequest, shape: LatentShape) -> Iterator[SampledVideo]:
        """The videos, on the first rank; the others only help, and have to run through it all the same.

        Ends between two rounds if a process was asked to leave. In a round each rank samples one video, or those that share clips do. Where
        each has only a part of the weights all have to make every pass, so those that have no video left sample the last one again.
        """
        self.broken_off = False
        if self.ranks.alone:
            for video in sampled(self.sampler, role, request, shape):
                if self._stops():
                    return
                yield video
            return
        clips = clips_of(request)
        for begin in range(0, len(clips), self.ranks.groups):
            number = begin + self.ranks.group_number
            made: list[SampledVideo] = []
            if number < len(clips) or self.ranks.mesh is not None:
                made = list(sampled(self.sampler, role, clips[min(number, len(clips) - 1)], shape))
            if self._stops():
                return
            gathered = self.ranks.to_first(made)[:: self.ranks.layout.context]
            yield from (video for theirs in gathered[: len(clips) - begin] for video in theirs)

    def _stops(self) -> bool:
        """Whether any process was asked to leave."""
        (asked,) = self.ranks.most([int(self.stopping.asked is not None)])
        self.broken_off = bool(asked)
        return self.broken_off


def clips_of(request: ValidationRequest) -> list[ValidationRequest]:
    """A request of one video each, in the request's order."""
    return [
        replace(
            request,
            prompts=(prompt,),
            seeds=(seed,),
            first_frames=None if request.first_frames is None else (request.first_frames[index],),
            last_frames=None if request.last_frames is None else (request.last_frames[index],),
        )
        for index, prompt in enumerate(request.prompts or ())
        for seed in request.seeds_of(index)
    ]
