"""How unlike what a model was trained on a video is: the distance of what its early layers see from that of training.

`familiarity.npz`, beside the model: `mean` (S,) and `whitening` (S, S), float32, of the style of training's sequences,
averaged over time, and `distances` (101,), the percentiles 0 to 100 of the distances of validation sequences of unseen
people.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.storage import working_on

UNFAMILIAR = 97.0  # percentile from which on a video counts as unlike training's: three in a hundred of its own do


@dataclass(frozen=True)
class Familiarity:
    """A Mahalanobis distance from training, read as a percentile of what validation's sequences have.

    Source: Lee et al. 2018, https://arxiv.org/abs/1807.03888, with one class; the covariance is shrunk as Ledoit and
    Wolf (2004) do.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    distances: NDArray[np.float32]

    @classmethod
    def fit(cls, training: Any, validation: Any) -> Familiarity:
        """From styles (N, S) of training's sequences, real and blended alike, and of validation's."""
        from sklearn.covariance import LedoitWolf

        training = np.asarray(training, np.float64)
        scale = training.std(axis=0) + 1e-6  # shrunk towards equal variances, so they are made equal first
        fitted = LedoitWolf().fit(training / scale)
        whitening = np.linalg.cholesky(fitted.precision_) / scale[:, None]
        nothing = np.zeros(101, np.float32)
        draft = cls((fitted.location_ * scale).astype(np.float32), whitening.astype(np.float32), nothing)
        percentiles = np.percentile(draft.distance(validation), range(101))
        return cls(draft.mean, draft.whitening, percentiles.astype(np.float32))

    def distance(self, styles: Any) -> NDArray[np.float64]:
        """Of styles (N, S): (N,), in standard deviations of training's."""
        away = (np.asarray(styles, np.float64) - self.mean) @ self.whitening
        return np.asarray(np.linalg.norm(away, axis=-1) / np.sqrt(self.whitening.shape[1]))

    def percentile(self, styles: Any) -> NDArray[np.float64]:
        """Of styles (N, S): the share of validation sequences that lie nearer to training's, 0 to 100.

        `UNFAMILIAR` or more means that the model has seen nothing like it, and that its score is a guess.
        """
        return np.asarray(np.interp(self.distance(styles), self.distances, np.arange(101.0)))

    def save(self, path: str | Path) -> None:
        """Write `familiarity.npz`, whole or not at all."""
        path = Path(path)
        with working_on(path.parent, path.name) as partial:
            np.savez_compressed(partial / path.name, mean=self.mean, whitening=self.whitening, distances=self.distances)
            (partial / path.name).replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Familiarity:
        """Read it. Raises `FileNotFoundError` if there is none, `ValueError` if the file is not one."""
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as stored:
                return cls(stored["mean"], stored["whitening"], stored["distances"])
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}: this model does not know what it has seen: only pretrained ones do"
            ) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} does not hold styles of a training ({error}). Run pretrain again.") from error
