"""Decoded frames → pixels: uint8 RGB, as displayed, only as much of them as is asked for, on one thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameView:
    """A frame as the decoder left it: `view[top:bottom, left:right]` is that part alone as uint8 RGB, (H, W, 3).

    Of a 1080p frame a face takes a tenth, and converting the rest costs more than cutting out the face.
    """

    _decoded: av.VideoFrame = field(repr=False)
    rotation: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole frame as it is displayed."""
        height, width = self._decoded.height, self._decoded.width
        return (width, height, 3) if self.rotation % 180 else (height, width, 3)

    def __getitem__(self, part: tuple[slice, slice]) -> Image:
        (top, bottom, _), (left, right, _) = (
            where.indices(side) for where, side in zip(part, self.shape[:2], strict=True)
        )
        height, width = self._decoded.height, self._decoded.width
        # Where the part lies before the frame is turned.
        rows, columns = {
            0: ((top, bottom), (left, right)),
            90: ((height - right, height - left), (top, bottom)),
            180: ((height - bottom, height - top), (width - right, width - left)),
            270: ((left, right), (width - bottom, width - top)),
        }[self.rotation]
        if self._decoded.format.chroma_width(4) < 2 or self._decoded.format.chroma_height(4) < 2:
            y, x, cut = (
                0,
                0,
                to_rgb(self._decoded),
            )  # old camcorders' planes of a quarter: not worth a path of their own
        else:
            # Colour planes are halved: cut along their pixels, or every colour shifts.
            y, x = rows[0] // 2 * 2, columns[0] // 2 * 2
            y_end, x_end = min(height, rows[1] + rows[1] % 2), min(width, columns[1] + columns[1] % 2)
            cut = to_rgb(_cut(self._decoded, x, y, x_end - x, y_end - y))
        inner = cut[rows[0] - y : rows[1] - y, columns[0] - x : columns[1] - x]
        return np.ascontiguousarray(turn(inner, self.rotation))


def to_rgb(frame: av.VideoFrame, **size: Any) -> Image:
    """Convert, and scale if asked to, on one thread: by default each conversion starts a pool of its own."""
    return np.asarray(frame.reformat(format="rgb24", threads=1, **size).to_ndarray(), dtype=np.uint8)


def turn(image: Image, clockwise: int) -> Image:
    """Turn by `clockwise` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(image, k=-clockwise // 90)) if clockwise else image


def _cut(frame: av.VideoFrame, left: int, top: int, width: int, height: int) -> av.VideoFrame:
    """A part of a frame, still in the decoder's format: FFmpeg's crop filter moves pointers and copies nothing."""
    graph = Graph()
    # Some frames have no clock; the filter wants one and makes no use of it.
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    crop, sink = graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"), graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()
    graph.push(frame)
    part = graph.pull()
    assert isinstance(part, av.VideoFrame)  # a graph of pictures gives pictures
    return part
