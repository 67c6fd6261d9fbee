"""From a video to a verdict: a trained model, with everything needed to use it on a new video."""

import contextlib
import functools
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces import SequenceConfig, find_yunet, load_face_detector
from dfdc_utils.models import PRETRAINED, ModelFolder, WithStyle, hears, picture_part, sync_part
from dfdc_utils.prediction.explain import explain_score
from dfdc_utils.prediction.verdicts import Explanation, Prediction, TrackScore, WindowScore
from dfdc_utils.prediction.windows import FaceWindow, Look, VideoFaces, find_faces
from dfdc_utils.quiet import tf
from dfdc_utils.sequences import stack_faces
from dfdc_utils.videos import Image
from dfdc_utils.workers import WorkerDied, each_whatever_dies, interrupts_held_back

# Sequences scored at once, with four views of each: 0.1 GB for the small CNN, 2 GB for a large backbone.
SEQUENCES_AT_ONCE = 8
SHIFT_PIXELS = 3  # training shifts faces by up to 5, and the boxes of a face detector vary by as much
MOST_EXPLAINED = 50  # videos with faces on a page: each takes 0.2 MB
MAX_PEOPLE = 8  # in a video, by default
TIME_LIMIT = 60.0  # seconds for a video, plus twice the video's length where all of it is looked at


class Detector:
    """A trained model that finds the faces of videos as in training, scores them, and gives a verdict.

        print(Detector.load("pretrained").predict("video.mp4").in_words())

    `folder` is the `ModelFolder` it was made of. Taught in notebook 06.
    """

    def __init__(self, folder: ModelFolder) -> None:
        """Raises `ConfigMismatch` if `folder.sequence` or `folder.ood` belongs to another model."""
        model, sequence = picture_part(folder.model), folder.sequence
        shape = (sequence.frame_count, sequence.face_size, sequence.face_size, 3)
        if tuple(model.input_shape[1:]) != shape or tuple(model.output_shape[1:]) != (1,):
            model_has = f"the model takes {model.input_shape[1:]} and gives {model.output_shape[1:]}"
            file_has = f"its sequence.json prepares {shape} for one score"
            raise ConfigMismatch(f"{model_has}, but {file_has}: they are not from one training. Train again.")
        if hears(folder.model) != sequence.audio:
            other = "takes" if hears(folder.model) else "does not take"
            raise ConfigMismatch(f"the model {other} sound, its sequence.json says the opposite. Train again.")
        self._sync = sync_part(folder.model) if sequence.audio else None
        both = None
        if folder.ood:
            try:
                both = WithStyle(model)
            except ValueError as error:
                raise ConfigMismatch(f"ood.npz does not belong to the model beside it ({error}). Remove it.") from error
            if (both.style_size,) != folder.ood.mean.shape:
                raise ConfigMismatch("ood.npz belongs to another model than the one beside it. Run pretrain again.")
        self.folder, self.model = folder, folder.model
        # The encoder in the package sees each frame mirrored, too, so a mirrored video has the same score.
        inner = [layer for part in model.layers if part.name == "frame_encoder" for layer in part.layers]
        self._symmetric = any(layer.name == "both_ways" for layer in inner)

        def score(sequences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
            scores, style = both(sequences, training=False) if both else (model(sequences, training=False), None)
            return scores[:, 0], style

        self._score_batch = tf.function(score, input_signature=[tf.TensorSpec((None, *shape), tf.uint8)])
        self._score_batch.get_concrete_function()  # takes seconds, which no video should be charged with

    @classmethod
    def load(cls, name_or_path: str | Path = PRETRAINED) -> Self:
        """Load the model in a folder that training has left; `"pretrained"` is the one in the package.

        Raises like `ModelFolder.open`, and `ConfigMismatch` if files of the folder do not belong together.
        """
        return cls(ModelFolder.open(name_or_path))

    def predict(
        self, path: str | Path, *, whole: bool = False, max_people: int = MAX_PEOPLE, time_limit: float = TIME_LIMIT
    ) -> Prediction:
        """Score one video: its first seconds, as in training, or with `whole` all of it in overlapping windows.

        Of more than `max_people` people at once, those with the largest faces are scored; the result says why none is.
        Raises `FileNotFoundError` without the model's face detector, `ConfigMismatch` if the model is damaged.
        """
        return self._judge(find_faces(self._look(path, whole, time_limit, max_people)))

    def predict_many(
        self,
        paths: Iterable[str | Path],
        *,
        whole: bool = False,
        max_people: int = MAX_PEOPLE,
        workers: int | None = None,
        time_limit: float = TIME_LIMIT,
        show_progress: bool = True,
    ) -> Generator[Prediction, None, None]:
        """`predict` for many videos: one prediction for each of `paths`, in their order, as soon as it is known.

        Faces are found by `workers` processes, one per core by default; this process scores them. A video that ends its
        worker is `unreadable`, and the others continue. Interrupted or closed, it stops the workers.
        """
        looks = [self._look(path, whole, time_limit, max_people) for path in paths]
        names = [str(look.path) for look in looks]
        jobs = dict(zip(names, looks, strict=True))  # a video that is named twice is looked at once
        workers = 1 if workers == 1 or len(jobs) == 1 else workers
        patience = None if whole else 3 * time_limit  # a whole video may take hours; a worker that hangs ends itself
        unanswered, early, place = Counter(names), dict[str, Prediction](), 0
        with contextlib.closing(each_whatever_dies(find_faces, jobs, workers=workers, patience=patience)) as results:
            bar = tqdm(results, desc="scoring videos", unit="video", total=len(jobs), disable=not show_progress)
            for name, found in bar:
                if isinstance(found, WorkerDied):
                    path = jobs[name].path
                    what = f"{path.name}: the process that worked on it ended ({found}). Leave it out."
                    found = VideoFaces(path, "unreadable", what, 0.0, ())
                early[name] = self._judge(found)
                while place < len(names) and names[place] in early:
                    name, place = names[place], place + 1
                    unanswered[name] -= 1
                    yield early[name] if unanswered[name] else early.pop(name)

    @interrupts_held_back()
    def explain(self, window: WindowScore) -> Explanation:
        """Explain the score of a window: where in the faces the model sees a fake. Raises like `explain_score`."""
        return explain_score(picture_part(self.model), decode_faces(window.faces))

    def gather_evidence(
        self, predictions: Sequence[Prediction], *, most: int = MOST_EXPLAINED, show_progress: bool = False
    ) -> dict[Path, tuple[Image, Explanation]]:
        """Explain what `write_page` shows: the worst windows of the `most` highest scores that are fake or unsure."""
        suspicious = [one for one in predictions if one.verdict in ("fake", "unsure")]
        suspicious.sort(key=lambda one: -(one.score or 0))
        evidence = {}
        for one in tqdm(suspicious[:most], desc="explaining scores", unit="video", disable=not show_progress):
            assert one.decisive
            evidence[one.path] = decode_faces(one.decisive.worst.faces), self.explain(one.decisive.worst)
        return evidence

    @functools.cached_property
    def _face_finding(self) -> tuple[SequenceConfig, Path | None]:
        """The settings with the face detector chosen, and YuNet's weights: looked up once for all videos."""
        config = self.folder.sequence
        if config.detector == "auto":
            config = replace(config, detector=load_face_detector().name)
        return config, find_yunet() if config.detector == "yunet" else None

    def _look(self, path: str | Path, whole: bool, time_limit: float, max_people: int) -> Look:
        return Look(Path(path).absolute(), *self._face_finding, whole, time_limit, max_people)

    def _judge(self, found: VideoFaces) -> Prediction:
        scored = self._score(found.windows)
        people = dict.fromkeys(window.faces.track for window in scored)
        tracks = [TrackScore(one, tuple(window for window in scored if window.faces.track == one)) for one in people]
        tracks.sort(key=lambda track: -track.score)
        status, error = _check(found, tracks, self.folder)
        looked_at = (found.seconds, tuple(tracks), self.folder, found.duration, found.left_out, found.detector)
        return Prediction(found.path, status, error, *looked_at)

    def _score(self, windows: tuple[FaceWindow, ...]) -> list[WindowScore]:
        scores: list[WindowScore] = []
        for start in range(0, len(windows), SEQUENCES_AT_ONCE):
            some = windows[start : start + SEQUENCES_AT_ONCE]
            with interrupts_held_back():
                sequences = np.stack([decode_faces(window) for window in some])  # (W, T, H, W, 3)
                seen = [self._score_batch(tf.constant(view)) for view in _views(sequences, symmetric=self._symmetric)]
                heard = self._listen(sequences, some)  # (W,), 0 where the sound cannot be judged
            raw = np.stack([scored.numpy() for scored, _ in seen])  # (views, W)
            if not np.isfinite(raw).all():
                raise ConfigMismatch("the model's scores are not numbers: its weights are damaged. Train again.")
            if self.folder.flicker:
                raw = self.folder.flicker.add(raw, [window.flicker for window in some])
            calibrated = self.folder.calibration.apply(raw + heard * (1 - raw))
            alone = self.folder.calibration.apply([raw[0], heard])
            away = self.folder.ood.percentile(seen[0][1]) if self.folder.ood else [None] * len(some)
            for window, column, percentile, (seen_only, sound) in zip(some, calibrated.T, away, alone.T, strict=True):
                pictures = float(seen_only) if self._sync else None
                heard_alone = float(sound) if self._sync and not window.sound_flaw else None
                more = self.folder.flicker.excess(window.flicker) if self.folder.flicker and window.flicker else None
                range_of = (float(column[0]), float(column.min()), float(column.max()))
                scores.append(WindowScore(*range_of, window, percentile, pictures, heard_alone, more))
        return scores

    def _listen(self, sequences: Image, windows: Sequence[FaceWindow]) -> NDArray[np.float32]:
        """Score how little the sound of windows belongs to the mouths: (W,), 0 where it cannot be judged."""
        if self._sync is None:
            return np.zeros(len(windows), np.float32)
        audio = np.stack([np.asarray(window.sound, np.float32) / 32768 for window in windows])
        has_audio = np.array([[not window.sound_flaw] for window in windows], np.float32)
        given = {"sequence": sequences, "audio": audio, "has_audio": has_audio}
        return np.asarray(self._sync(given, training=False))[:, 0]


def _check(found: VideoFaces, people: list[TrackScore], folder: ModelFolder) -> tuple[Any, str]:
    """Say whether the model may judge the video: its status, and what is wrong."""
    name = found.path.name
    if found.status != "ok":
        return found.status, found.error
    if found.is_synthetic != (folder.data_kind == "synthetic"):
        video, remedy = "recorded", f"--model {PRETRAINED}"
        if found.is_synthetic:
            video, remedy = "synthetic", "a model trained on the sample"
        what = f"{name}: it is {video}, and the model was trained on {folder.data_kind} videos"
        return "other_kind", f"{what}. Its score of {people[0].score:.2f} says nothing. Use {remedy}."
    if all(person.flaw for person in people):
        flaws = "; ".join(f"person {person.number + 1} is {person.flaw}" for person in people)
        return "poor_face", f"{name}: {flaws}. Use a larger or sharper version of the video, or another part of it."
    return "ok", found.error


def decode_faces(window: FaceWindow) -> Image:
    """The sequence that the model sees, uint8 RGB (T, H, W, 3)."""
    return np.asarray(stack_faces(tf.constant(window.faces), are_paths=False))


def _views(sequences: Image, *, symmetric: bool) -> Iterator[NDArray[np.uint8]]:
    """The sequences (N, T, H, W, 3) as they are, mirrored unless `symmetric`, and both shifted by a few pixels."""
    mirrored = np.ascontiguousarray(sequences[:, :, :, ::-1])
    yield sequences
    if not symmetric:  # else the score would be the same
        yield mirrored
    border = [(0, 0), (0, 0), (SHIFT_PIXELS, SHIFT_PIXELS), (SHIFT_PIXELS, SHIFT_PIXELS), (0, 0)]
    yield np.pad(sequences, border, mode="reflect")[:, :, 2 * SHIFT_PIXELS :, 2 * SHIFT_PIXELS :]
    yield np.pad(mirrored, border, mode="reflect")[:, :, : -2 * SHIFT_PIXELS, : -2 * SHIFT_PIXELS]
