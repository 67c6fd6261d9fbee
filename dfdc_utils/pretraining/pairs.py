"""Batches of real faces and their fakes for pretraining, made in a process of their own beside the training."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.pretraining.filming import Take, film_together, move_still
from dfdc_utils.pretraining.photographs import POINTS
from dfdc_utils.sequences import align, self_blend, swap_face
from dfdc_utils.videos import Image

TOGETHER = 8  # people in one encoder: few enough for a batch to hold several qualities
FILMED_FRAMES = 3  # for training on single frames: the encoder needs a past to predict from
DONORS = 24  # pictures of which the one with the head held most alike gives the face for a swap
AHEAD = 6  # batches made in advance


class Pairs(NamedTuple):
    """`reals` and `fakes` (N, T, H, W, 3) of N people; `takes`: how each was encoded."""

    reals: Image
    fakes: Image
    takes: list[Take]


class Still(NamedTuple):
    """`picture` (S, S, 3) with a face at its centre: its box's longer side and `landmarks` (5, 2), in pixels."""

    picture: Image
    side: float
    landmarks: NDArray[np.float32]


class PairSource:
    """Makes pairs of the pictures that `prepare_pictures` left in `folder`, in any process, without TensorFlow."""

    def __init__(self, folder: Path, table: pd.DataFrame, *, face_size: int, seed: int) -> None:
        self._folder, self._face_size, self._seed = folder, face_size, seed
        self._sides = table["side"].to_numpy(float)
        self._landmarks = table[POINTS].to_numpy(np.float32).reshape(-1, 5, 2)
        self._rows = table["row"].to_numpy(int)
        self._people = table["identity"].to_numpy(str)
        self.digest = hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()  # of who is seen, and where
        self._pictures: Image | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pictures": None}  # a worker opens them itself: pickled, a map is all that it maps

    def choose(self, step: int, count: int) -> NDArray[np.intp]:
        """The people of batch number `step`: all of them once before anyone's second turn."""
        numbers = np.arange(step * count, (step + 1) * count)
        orders = {
            turn: np.random.default_rng((self._seed, 1, turn)).permutation(len(self))
            for turn in set((numbers // len(self)).tolist())
        }
        return np.array([orders[int(number // len(self))][number % len(self)] for number in numbers])

    def still(self, number: int) -> Still:
        """The photograph that films of one person are made of."""
        if self._pictures is None:
            self._pictures = np.load(self._folder / "pictures.npy", mmap_mode="r")
        picture = np.asarray(self._pictures[self._rows[number]])
        return Still(picture, float(self._sides[number]), self._landmarks[number])

    def make(
        self, numbers: Sequence[int] | NDArray[np.intp], draw: int, frame_count: int, *, swaps: float = 0.0
    ) -> Pairs:
        """Pairs of sequences of the people `numbers`; the same draw makes the same ones.

        The share `swaps` of them are made with the face of someone else in this source, the rest are self-blends.
        """
        generator = np.random.default_rng((self._seed, 2, draw))
        crops, takes = [], []
        for start in range(0, len(numbers), TOGETHER):
            part = numbers[start : start + TOGETHER]
            take = Take.draw(generator)
            films = np.empty((len(part), 2, frame_count, take.size, take.size, 3), np.uint8)
            for place, number in enumerate(part):
                film, points = move_still(*self.still(number), frame_count, take.size, generator)
                if swaps and generator.random() < swaps:
                    donor = self._choose_donor(int(number), points[0], generator)
                    pair = swap_face(film, points, donor.picture, donor.landmarks, generator)
                else:
                    pair = self_blend(film, points, generator)
                films[place, 0], films[place, 1] = pair
            crops.append(film_together(films, take, self._face_size, generator))
            takes += [take] * len(part)
        both = np.concatenate(crops)
        return Pairs(both[:, 0], both[:, 1], takes)

    def _choose_donor(self, number: int, landmarks: NDArray[np.float32], generator: np.random.Generator) -> Still:
        """Of some pictures drawn by lot, all of other people than `number`, the one whose head is held most like it."""
        drawn = generator.choice(len(self), min(DONORS, len(self)), replace=False)
        elsewhere = self._people != self._people[number]
        others = drawn[elsewhere[drawn]]
        if not len(others):  # few people with many pictures each
            others = np.flatnonzero(elsewhere)
        misfit = []
        for other in others:
            own = self._landmarks[other]
            placed = align(own, landmarks)
            misfit.append(np.abs(own @ placed[:, :2].T + placed[:, 2] - landmarks).sum())
        return self.still(int(others[np.argmin(misfit)]))

    def make_frames(
        self, numbers: Sequence[int] | NDArray[np.intp], draw: int, *, swaps: float = 0.0
    ) -> tuple[Image, Image]:
        """Pairs of single frames, (N, H, W, 3) each: one moment of a short film, the same of both."""
        pairs = self.make(numbers, draw, FILMED_FRAMES, swaps=swaps)
        moments = np.random.default_rng((self._seed, 3, draw)).integers(0, FILMED_FRAMES, len(numbers))
        people = np.arange(len(numbers))
        return pairs.reals[people, moments], pairs.fakes[people, moments]

    def batches(
        self, count: int, start: int, stop: int, *, swaps: Callable[[int], float], workers: int = 1
    ) -> Iterator[tuple[Image, Image]]:
        """`make_frames` for `count` people at each step from `start` to `stop`, made ahead in `workers` processes.

        `swaps` gives the share of swaps at a step.
        """
        jobs = [("frames", step, self.choose(step, count), swaps(step)) for step in range(start, stop)]
        return _ahead(self, jobs, workers)

    def sequences(
        self, frame_count: int, *, count: int = 16, first_seed: int = 0, swaps: float = 0.0, workers: int = 1
    ) -> Iterator[Pairs]:
        """`make` for all people, `count` at a time; their order is that of the table."""
        jobs = []
        for start in range(0, len(self), count):
            numbers = np.arange(start, min(start + count, len(self)))
            jobs.append((frame_count, first_seed + start, numbers, swaps))
        return _ahead(self, jobs, workers)


_source: PairSource | None = None


def _begin(source: PairSource) -> None:
    global _source
    cv2.setNumThreads(1)
    _source = source


def _work(job: tuple[int | str, int, NDArray[np.intp], float]) -> Pairs | tuple[Image, Image]:
    assert _source is not None
    frames, draw, numbers, swaps = job
    if frames == "frames":
        return _source.make_frames(numbers, draw, swaps=swaps)
    return _source.make(numbers, draw, int(frames), swaps=swaps)


def _ahead(source: PairSource, jobs: list[Any], workers: int) -> Iterator[Any]:
    """The results of all jobs in their order. `workers` 0 works in this process."""
    if not workers:
        _begin(source)
        yield from map(_work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process in which TensorFlow has threads may hang
    with ProcessPoolExecutor(workers, context, _begin, (source,)) as pool:
        waiting: deque[Future[Any]] = deque()
        rest = iter(jobs)
        try:
            while True:
                while len(waiting) < AHEAD and (job := next(rest, None)) is not None:
                    waiting.append(pool.submit(_work, job))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
