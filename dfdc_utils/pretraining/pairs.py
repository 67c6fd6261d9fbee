"""Pairs of real faces and their fakes for pretraining, made ahead in other processes while the model trains."""

import hashlib
import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dfdc_utils.pretraining.filming import Encoding, film_together, move_still
from dfdc_utils.pretraining.mesh import MeshOutline
from dfdc_utils.pretraining.photographs import POINTS
from dfdc_utils.sequences import align, self_blend, swap_face
from dfdc_utils.videos import Image

TOGETHER = 8  # people in one encoder: few enough for a batch to hold several qualities
FILMED_FRAMES = 2  # for training on single frames: one that the video codec encodes by itself, one that it predicts
SWAP_CANDIDATES = 24  # pictures, of which the one with the most similar pose gives the face of a swap
MESHES = 0.5  # fraction of whole faces with the outline of a face mesh, where there is one; the others have an oval
CELL = 16  # pixels of a cell of the masks: the frame encoder's maps
AHEAD = 3  # batches made in advance by each worker

Numbers = Sequence[int] | NDArray[np.intp]
Frames = tuple[Image, Image, NDArray[np.float32]]  # single ones: reals and fakes (N, H, W, 3), masks (N, h, w)
Made = TypeVar("Made")


class Pairs(NamedTuple):
    """`reals` and `fakes` (N, T, H, W, 3); `masks` (N, T, h, w) say how much of each cell of a fake is blended."""

    reals: Image
    fakes: Image
    masks: NDArray[np.float32]
    people: NDArray[np.intp]  # a number for each
    encodings: list[Encoding]


class Still(NamedTuple):
    """`picture` (S, S, 3) with a face at its centre; `side` of its box and `landmarks` (5 or 5 + 468, 2) in pixels."""

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
        self._people = pd.factorize(table["identity"])[0]
        self.digest = hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()
        meshes = folder / "meshes.npy"
        self._meshes = np.load(meshes)[self._rows] if meshes.is_file() else None

    def __len__(self) -> int:
        return len(self._rows)

    def choose(self, step: int, count: int) -> NDArray[np.intp]:
        """The people of batch number `step`, in random order: all of them once before anyone's second turn."""
        numbers = np.arange(step * count, (step + 1) * count)
        first, last = (numbers[[0, -1]] // len(self)).tolist()
        turns = [np.random.default_rng((self._seed, 1, turn)) for turn in range(first, last + 1)]
        orders = np.concatenate([turn.permutation(len(self)) for turn in turns])
        return np.asarray(orders[numbers - first * len(self)])

    def still(self, number: int) -> Still:
        """The photograph that one person's sequences are made of."""
        # Opened anew each time, which takes no time: kept open, it would be copied to other processes.
        picture = np.array(np.load(self._folder / "pictures.npy", mmap_mode="r")[self._rows[number]])
        landmarks = self._landmarks[number]
        if self._meshes is not None:
            landmarks = np.concatenate([landmarks, self._meshes[number]])
        return Still(picture, float(self._sides[number]), landmarks)

    def make(self, numbers: Numbers, seed: int, frame_count: int, *, swaps: float = 0.0, parts: float = 0.0) -> Pairs:
        """Make pairs of sequences of the people `numbers`; the same seed makes the same ones.

        The fraction `swaps` of the fakes have the face of someone else in this source; the others are self-blends. If
        there is a face mesh, in the fraction `parts` only the mouth, nose, eyes or lower face is fake.
        """
        generator = np.random.default_rng((self._seed, 2, seed))
        crops, masks, encodings = [], [], []
        cells = self._face_size // CELL
        for start in range(0, len(numbers), TOGETHER):
            part = numbers[start : start + TOGETHER]
            encoding = Encoding.sample(generator)
            clips = np.empty((len(part), 2, frame_count, encoding.size, encoding.size, 3), np.uint8)
            for place, number in enumerate(part):
                clip, points = move_still(*self.still(number), frame_count, encoding.size, generator)
                local, meshed = (self._meshes is not None and generator.random() < share for share in (parts, MESHES))
                outline = MeshOutline(generator, part=local) if local or meshed else None
                if swaps and generator.random() < swaps:
                    donor = self._choose_donor(int(number), points[0, :5], generator)
                    blend = swap_face(clip, points, donor.picture, donor.landmarks, generator, outline)
                else:
                    blend = self_blend(clip, points, generator, outline)
                clips[place, 0], clips[place, 1] = blend.real, blend.fake
                masks.append([cv2.resize(one, (cells, cells), interpolation=cv2.INTER_AREA) for one in blend.mask])
            crops.append(film_together(clips, encoding, self._face_size, generator))
            encodings += [encoding] * len(part)
        both = np.concatenate(crops)
        return Pairs(both[:, 0], both[:, 1], np.array(masks), self._people[numbers], encodings)

    def make_frames(self, numbers: Numbers, seed: int, **mix: Any) -> Frames:
        """Make pairs of single frames, `FILMED_FRAMES` of each person; `mix` is `swaps` and `parts` of `make`."""
        pairs = self.make(numbers, seed, FILMED_FRAMES, **mix)
        reals, fakes = (part.reshape(-1, *part.shape[2:]) for part in (pairs.reals, pairs.fakes))
        return reals, fakes, pairs.masks.reshape(-1, *pairs.masks.shape[2:])

    def batches(self, count: int, start: int, stop: int, *, workers: int = 1, **mix: Any) -> Iterator[Frames]:
        """`make_frames` for `count` people at each step from `start` to `stop`, made ahead by `workers` processes."""
        steps = range(start, stop)
        return _work_ahead((partial(self.make_frames, self.choose(at, count), at, **mix) for at in steps), workers)

    def sequences(
        self, frame_count: int, *, count: int = 16, first_seed: int = 0, workers: int = 1, **mix: Any
    ) -> Iterator[Pairs]:
        """`make` for all people in the table's order, `count` at a time."""
        make = partial(self.make, frame_count=frame_count, **mix)
        batches = np.split(np.arange(len(self)), range(count, len(self), count))
        return _work_ahead((partial(make, batch, first_seed + int(batch[0])) for batch in batches), workers)

    def _choose_donor(self, number: int, landmarks: NDArray[np.float32], generator: np.random.Generator) -> Still:
        """Of some random pictures of other people than `number`, the one whose pose is most similar."""
        some = generator.choice(len(self), min(SWAP_CANDIDATES, len(self)), replace=False)
        elsewhere = self._people != self._people[number]
        # With few people of many pictures each, there may be nobody else among them.
        others = some[elsewhere[some]] if elsewhere[some].any() else np.flatnonzero(elsewhere)
        owns = self._landmarks[others]
        placed = np.array([align(own, landmarks) for own in owns])
        moved = owns @ placed[:, :, :2].transpose(0, 2, 1) + placed[:, None, :, 2]
        return self.still(int(others[np.abs(moved - landmarks).sum(axis=(1, 2)).argmin()]))


def _work_ahead(jobs: Iterable[Callable[[], Made]], workers: int) -> Iterator[Made]:
    """The results of all jobs in their order, made ahead by `workers` processes; with 0, made here when asked for."""
    if not workers:
        yield from (job() for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # forking a process in which TensorFlow has threads may hang
    with TemporaryDirectory() as folder, ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        left = (pool.submit(_save, job, Path(folder, str(number))) for number, job in enumerate(jobs))
        waiting = deque(islice(left, AHEAD * workers))
        try:
            while waiting:
                path = waiting.popleft().result()
                yield pickle.loads(path.read_bytes())
                path.unlink()
                waiting.extend(islice(left, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _save(job: Callable[[], object], path: Path) -> Path:
    """Write the result of a job: handed over as a file it takes half as long as through the workers' shared pipe."""
    path.write_bytes(pickle.dumps(job(), protocol=pickle.HIGHEST_PROTOCOL))
    return path
