"""One video in, a verdict out: a model with all that it takes to use it on a video that it has never seen."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig, find_yunet, load_face_detector
from dfdc_utils.models import ModelFolder, PRETRAINED, with_style
from dfdc_utils.prediction.explain import frame_importance, heat_maps
from dfdc_utils.prediction.verdicts import Explanation, Prediction, TrackScore, WindowScore
from dfdc_utils.prediction.windows import FaceWindow, Look, VideoFaces, find_faces
from dfdc_utils.quiet import quiet_import
from dfdc_utils.sequences import stack_faces
from dfdc_utils.videos import Image
from dfdc_utils.workers import WorkerDied, each_whatever_dies

with quiet_import():
    import tensorflow as tf

# Sequences scored at once, with four views of each: 0.1 GB for the small CNN, 2 GB for a large backbone.
SEQUENCES_AT_ONCE = 8
MOVED = 3  # pixels; training moves faces by up to 5, and a detector's boxes err by as much
MOST_EXPLAINED = 50  # as many as a report has sections
TIME_LIMIT = 60.0  # seconds a video, and twice its length on top where the whole of it is looked at


class Detector:
    """A trained model that scores videos: it finds faces as in training, scores them, and reads the scores.

        detector = Detector.load("pretrained")
        print(detector.predict("video.mp4").in_words())

    `folder` is the `ModelFolder` it was made of. Taught in notebook 06.
    """

    def __init__(self, folder: ModelFolder) -> None:
        """Raises `ConfigMismatch` if the model does not take sequences prepared as `folder.sequence` says, or if
        `folder.ood` belongs to another model."""
        model, sequence = folder.model, folder.sequence
        shape = (sequence.frame_count, sequence.face_size, sequence.face_size, 3)
        if tuple(model.input_shape[1:]) != shape or tuple(model.output_shape[1:]) != (1,):
            raise ConfigMismatch(
                f"the model takes {model.input_shape[1:]} and gives {model.output_shape[1:]}, but its sequence.json "
                f"prepares {shape} for one score: they are not from one training. Train again."
            )
        both = None
        if folder.ood:
            try:
                both = with_style(model)
            except ValueError as error:
                raise ConfigMismatch(f"ood.npz does not belong to the model beside it ({error}). Remove it.") from error
            if both.output_shape[1][1:] != folder.ood.mean.shape:
                raise ConfigMismatch("ood.npz belongs to another model than the one beside it. Run pretrain again.")
        self.folder, self.model = folder, model
        # A frame encoder sees each frame mirrored, too, so that a mirrored video has the same score.
        self._symmetric = any(layer.name == "frame_encoder" for layer in model.layers)

        def score(sequences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
            scores, style = both(sequences, training=False) if both else (model(sequences, training=False), None)
            return scores[:, 0], style

        self._score_batch = tf.function(score, input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])
        self._score_batch.get_concrete_function()  # seconds that no video should be charged with

    @classmethod
    def load(cls, name_or_path: str | Path = PRETRAINED) -> Detector:
        """The model in a folder that training has left, or for `"pretrained"` the one in the package.

        Raises `FileNotFoundError` if there is none, `ConfigMismatch` if what lies beside it does not belong to it,
        `ValueError` if the file is not a Keras model or carries code.
        """
        return cls(ModelFolder.open(name_or_path))

    def predict(self, path: str | Path, *, whole: bool = False, time_limit: float = TIME_LIMIT) -> Prediction:
        """Score one video: its first seconds, as in training, or with `whole` all of it in overlapping windows.

        A video that cannot be scored gives a `Prediction` that says so. Raises `FileNotFoundError` if the model's face
        detector cannot be had, `ConfigMismatch` as below.
        """
        return self._judge(find_faces(self._look(path, whole, time_limit)))

    def predict_many(
        self,
        paths: Iterable[str | Path],
        *,
        whole: bool = False,
        workers: int | None = None,
        time_limit: float = TIME_LIMIT,
        show_progress: bool = True,
    ) -> Iterator[Prediction]:
        """`predict` for many videos, each given as soon as it is done, in any order.

        Faces are found by the pool that preprocessing uses, `workers` processes, one a core by default; the model
        scores in this one. A video that takes its worker down is `unreadable`, and the others go on.
        """
        looks = {str(path): self._look(path, whole, time_limit) for path in paths}
        workers = 1 if workers == 1 or len(looks) == 1 else workers
        patience = None if whole else 3 * time_limit  # a whole video may take hours; a worker that hangs ends itself
        with tqdm(total=len(looks), desc="looking at videos", unit="video", disable=not show_progress) as progress:
            for name, found in each_whatever_dies(find_faces, looks, workers=workers, patience=patience):
                progress.update()
                if isinstance(found, WorkerDied):
                    path = looks[name].path
                    what = f"{path.name}: the process that worked on it ended ({found}). Leave it out."
                    found = VideoFaces(path, "unreadable", what, 0.0, ())
                yield self._judge(found)

    def explain(self, window: WindowScore) -> Explanation:
        """Where in the faces of a window, and when, the model sees a fake.

        Raises `ValueError` for a model that it does not know.
        """
        sequence = decode_faces(window.faces)
        return Explanation(heat_maps(self.model, sequence), frame_importance(self.model, sequence))

    def gather_evidence(
        self, predictions: Sequence[Prediction], *, most: int = MOST_EXPLAINED
    ) -> dict[Path, tuple[Image, Explanation]]:
        """What `write_page` shows: for the `most` suspicious videos the sequence of their worst window, explained."""
        scored = [(one.path, one.decisive) for one in predictions if one.decisive]
        evidence = {}
        for path, person in sorted(scored, key=lambda pair: -pair[1].score)[:most]:
            evidence[path] = decode_faces(person.worst.faces), self.explain(person.worst)
        return evidence

    @functools.cached_property
    def _settled(self) -> tuple[SequenceConfig, Path | None]:
        """How faces are found here, and YuNet's weights: looked for once, not for every video or by every worker."""
        config = self.folder.sequence
        if config.detector == "auto":
            config = replace(config, detector=load_face_detector().name)
        return config, find_yunet() if config.detector == "yunet" else None

    def _look(self, path: str | Path, whole: bool, time_limit: float) -> Look:
        return Look(Path(path).absolute(), *self._settled, whole, time_limit)

    def _judge(self, found: VideoFaces) -> Prediction:
        scored = self._score(found.windows)
        tracks = [
            TrackScore(number, tuple(window for window in scored if window.faces.track == number))
            for number in dict.fromkeys(window.faces.track for window in scored)
        ]
        tracks.sort(key=lambda track: -track.score)
        return Prediction(
            found.path,
            found.status,
            found.error,
            found.seconds,
            tuple(tracks),
            self.folder.calibration,
            self.folder.data,
        )

    def _score(self, windows: tuple[FaceWindow, ...]) -> list[WindowScore]:
        scores: list[WindowScore] = []
        for start in range(0, len(windows), SEQUENCES_AT_ONCE):
            some = windows[start : start + SEQUENCES_AT_ONCE]
            sequences = np.stack([decode_faces(window) for window in some])  # (W, T, H, W, 3)
            seen = [self._score_batch(tf.constant(view)) for view in _views(sequences, symmetric=self._symmetric)]
            raw = np.stack([scored.numpy() for scored, _ in seen])  # (views, W)
            if not np.isfinite(raw).all():
                raise ConfigMismatch("the model gives scores that are no numbers: its weights are broken. Train again.")
            calibrated = self.folder.calibration.apply(raw)
            away = self.folder.ood.percentile(seen[0][1]) if self.folder.ood else [None] * len(some)
            scores += [
                WindowScore(float(column[0]), float(column.min()), float(column.max()), window, percentile)
                for window, column, percentile in zip(some, calibrated.T, away, strict=True)
            ]
        return scores


def decode_faces(window: FaceWindow) -> Image:
    """The sequence that the model sees, uint8 RGB (T, H, W, 3)."""
    sequence: Image = stack_faces(tf.constant(window.faces), are_paths=False).numpy()
    return sequence


def _views(sequences: Image, *, symmetric: bool) -> Iterator[NDArray[np.uint8]]:
    """The sequences (W, T, H, W, 3) as they are, then mirrored, and both moved by a few pixels.

    A `symmetric` model is not asked for the mirrored ones, which it scores as it does the others.
    """
    mirrored = np.ascontiguousarray(sequences[:, :, :, ::-1])
    yield sequences
    if not symmetric:
        yield mirrored
    padded = [(0, 0), (0, 0), (MOVED, MOVED), (MOVED, MOVED), (0, 0)]
    yield np.pad(sequences, padded, mode="reflect")[:, :, 2 * MOVED :, 2 * MOVED :]
    yield np.pad(mirrored, padded, mode="reflect")[:, :, : -2 * MOVED, : -2 * MOVED]
