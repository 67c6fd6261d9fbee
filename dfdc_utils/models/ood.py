"""Out-of-distribution detection: how far a video lies from what a model was trained on.

`ood.npz`, beside the model, is float32: `mean` (S,) and `whitening` (S, S) describe the style of the training
sequences, averaged over time; `percentiles` (101,), 0 to 100, are those of the validation sequences' distances.
"""

import io
import zipfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.files import replacing

OOD_PERCENTILE = 97.0  # a video from this percentile on is flagged: 3 % of the validation sequences are


@dataclass(frozen=True)
class OODDetector:
    """The Mahalanobis distance from the training data, read as a percentile of the validation data.

    It is fitted without other kinds of pictures, and measured on such (`weights/pretrained/outliers.csv`). Sources: Lee
    et al. 2018, https://arxiv.org/abs/1807.03888, with one class; covariance as Ledoit and Wolf 2004.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    percentiles: NDArray[np.float32]

    @classmethod
    def fit(cls, training: Any, validation: Any) -> Self:
        """Fit it on the styles (N, S) of training sequences, real and fake, and of validation sequences."""
        from sklearn.covariance import LedoitWolf

        training = np.asarray(training, np.float64)
        scale = training.std(axis=0) + 1e-6  # Ledoit and Wolf shrink towards equal variances: make them equal first
        fitted = LedoitWolf().fit(training / scale)
        whitening = np.linalg.cholesky(fitted.precision_) / scale[:, None]
        draft = cls(*(one.astype(np.float32) for one in (fitted.location_ * scale, whitening, np.arange(101.0))))
        return replace(draft, percentiles=np.percentile(draft.distance(validation), range(101)).astype(np.float32))

    def distance(self, styles: Any) -> NDArray[np.float64]:
        """Distances (N,) of styles (N, S), in standard deviations of the training data."""
        away = (np.asarray(styles, np.float64) - self.mean) @ self.whitening
        return np.asarray(np.linalg.norm(away, axis=-1) / np.sqrt(away.shape[-1]))

    def percentile(self, styles: Any) -> NDArray[np.float64]:
        """The percentage (N,) of validation sequences that lie nearer to the training data than styles (N, S) do.

        From `OOD_PERCENTILE` on, the input is unusual for the model, and its score should be treated with caution.
        """
        return np.asarray(np.interp(self.distance(styles), self.percentiles, np.arange(101.0)))

    def save(self, path: str | Path) -> None:
        """Write `ood.npz`, whole or not at all."""
        with replacing(Path(path)) as partial:
            np.savez_compressed(partial, **asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read it. Raises `FileNotFoundError` if there is none, `ValueError` if the file is not one."""
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as stored:
                return cls(**{part.name: stored[part.name] for part in fields(cls)})
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: there is no such file. Only pretrained models have one.") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not an out-of-distribution detector ({error}). Run pretrain again.") from error
