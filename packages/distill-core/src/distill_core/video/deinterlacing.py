"""Whole frames out of fields: FFmpeg's bwdif, from the first interlaced frame on. Progressive frames pass as they are."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.filter import Graph

from distill_core.video.film import Changes


def deinterlaced(frames: Iterator[av.VideoFrame], stream: av.VideoStream, changes: Changes) -> Iterator[av.VideoFrame]:
    """As many frames at the same times, those that are marked as interlaced with the missing lines of one field made anew."""
    graph: Graph | None = None
    for frame in frames:
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            changes.say("deinterlaced")
            graph = _graph(stream)
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _graph(stream: av.VideoStream) -> Graph:
    """The filter between a source and a sink."""
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream),
        graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    """The frames that are ready."""
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame
