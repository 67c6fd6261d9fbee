"""How much more a face flickers than real ones do, and what that adds to a model's score."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

WEIGHT = 1.0  # logits for each standard deviation: chosen on clips of FaceForensics++ and real ones, as `BLUR` was
LARGEST = 4.0  # standard deviations: grain, or frames that a converter mixed, must not outvote the pictures


@dataclass(frozen=True)
class Flicker:
    """How much the faces of `clips` real clips flicker; it is stored in `flicker.json`, beside the model.

    A real face's new detail (see `faces.measure_flicker`) is a linear function of texture and motion, all as
    logarithms, with the coefficients `expected`, of which the first is constant, and the standard deviation `spread`.
    """

    expected: tuple[float, ...]
    spread: float
    clips: int
    weight: float = WEIGHT

    @classmethod
    def fit(cls, measured: Any) -> Self:
        """Fit it on what `measure_flicker` says of real clips, (N, 3): least squares."""
        new, *rest = np.asarray(measured, np.float64).T
        known = np.column_stack([np.ones(len(new)), *rest])
        expected, *_ = np.linalg.lstsq(known, new)
        return cls(tuple(expected.round(4).tolist()), round(float(np.std(new - known @ expected)), 4), len(new))

    def excess(self, measured: Any) -> float:
        """How much more a face flickers than expected, in standard deviations, -4 to 4; 0 if it was not `measured`."""
        if not len(measured):
            return 0.0
        new, *rest = measured
        return float(np.clip((new - np.dot(self.expected, [1, *rest])) / self.spread, -LARGEST, LARGEST))

    def add(self, scores: Any, measured: Any) -> NDArray[np.float64]:
        """Add what flicker says to the scores (..., N) of a model, 0 real to 1 fake; `measured` is of each of N."""
        given = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
        return np.asarray(expit(logit(given) + self.weight * np.array([self.excess(one) for one in measured])))

    def to_json(self) -> str:
        """Give the text that `load` reads."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it from JSON. Raises `OSError` if it cannot be read, `ValueError` if the file is not one."""
        try:
            read = cls(**json.loads(Path(path).read_text(encoding="utf-8")))
            read = replace(read, expected=tuple(read.expected))
            if len(read.expected) == 3 and np.isfinite([*read.expected, read.weight]).all() and read.spread > 0:
                return read
            raise ValueError("three numbers are expected, and a positive spread")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not say how much faces flicker ({error}). Run pretrain again.") from error
