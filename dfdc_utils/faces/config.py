"""`SequenceConfig`: how a video becomes a sequence. It is stored with the faces and with the model."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from dfdc_utils.errors import ConfigMismatch
from dfdc_utils.faces.detectors import DETECTOR_NAMES
from dfdc_utils.files import write_atomically

FILL_POLICIES = ("past_mean", "interpolate", "hold", "drop")  # see `fill_missing_boxes`


@dataclass(frozen=True)
class SequenceConfig:
    """How a video becomes a sequence. It is stored with the faces and with the model, and the two must agree.

    `capture_sec` is in seconds, `face_size` in pixels (crops are square), `margin` in multiples of the box's longer
    side, `max_tracks` in people per video. Beside a model, `time_step` is the median time in seconds between two frames
    of its training sequences, if it sees change over time (else 0), and `audio` says if it hears. With `flicker`,
    neighbouring frames are decoded, too, and how much a face flickers between them is measured.
    """

    capture_sec: float = 5.0
    frame_count: int = 16
    face_size: int = 96
    margin: float = 1.3
    detector: str = "auto"
    fill_policy: str = "past_mean"
    max_tracks: int = 2
    time_step: float = 0.0
    audio: bool = False
    flicker: bool = False

    def __post_init__(self) -> None:
        # 5 and 5.0 are the same setting and must be the same in JSON.
        object.__setattr__(self, "capture_sec", float(self.capture_sec))
        object.__setattr__(self, "margin", float(self.margin))
        counts = self.frame_count >= 1 and self.max_tracks >= 1
        if not (counts and self.capture_sec > 0 and self.face_size >= 16 and self.margin >= 1):
            limits = "frame_count, max_tracks and capture_sec must be positive, face_size ≥ 16, margin ≥ 1"
            raise ValueError(f"{self}: {limits}")
        if self.detector not in DETECTOR_NAMES or self.fill_policy not in FILL_POLICIES:
            raise ValueError(f"{self}: detector is one of {DETECTOR_NAMES}, fill_policy one of {FILL_POLICIES}")

    @property
    def window(self) -> dict[str, Any]:
        """The arguments of `sample_frames`."""
        return {"frame_count": self.frame_count, "capture_sec": self.capture_sec, "beside": self.flicker}

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `processing` that make faces for it; `time_step` and `audio` are the model's own."""
        return {name: value for name, value in asdict(self).items() if name not in ("time_step", "audio")}

    def save(self, path: str | Path) -> None:
        """Write it as JSON, unless the file holds the same already."""
        file, text = Path(path), json.dumps(asdict(self), indent=1)
        if not file.is_file() or file.read_bytes() != text.encode():
            write_atomically(file, text)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it from JSON. Raises `ConfigMismatch` if the file is not one."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ConfigMismatch(f"{path} is not a sequence configuration ({error}). Run processing again.") from error

    def require(self, other: Self, *, what: str, remedy: str) -> None:
        """Raise `ConfigMismatch`, naming each field that differs, unless `other` equals this one.

        If the detector of this one is `auto`, any other will do. `time_step` and `audio` are the model's own.
        """
        mine, others = asdict(self), asdict(replace(other, time_step=self.time_step, audio=self.audio))
        if self.detector == "auto":
            mine["detector"] = other.detector
        differ = [f"{key} {others[key]!r} instead of {mine[key]!r}" for key in mine if mine[key] != others[key]]
        if differ:
            raise ConfigMismatch(f"{what} with {', '.join(differ)}. {remedy}")
