"""Out-of-distribution detection: how far a video lies from what a model was trained on.

It flags most kinds of pictures that it was fitted on. Of faces that are drawn, painted, outlined, negative or upside
down it flags 15 to 51 % if their kind was left out of fitting (`weights/pretrained/outliers.csv`).

`ood.npz`, beside the model, is float32. `mean` (S,) and `whitening` (S, S) describe the style of the training
sequences, averaged over time; `direction` (S,) points towards pictures that are no photographs of faces; `percentiles`
(3, 101), 0 to 100, are those of validation sequences: of each of the two distances, and of the larger percentile.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdc_utils.files import replacing

OOD_PERCENTILE = 97.0  # a video from this percentile on is flagged: 3 % of the validation sequences are
SHRINKING = 0.03  # inverse strength of the penalty on `direction`: there are few outliers for so many values


@dataclass(frozen=True)
class OODDetector:
    """Two distances from the training data, each read as a percentile of the validation data; the larger one counts.

    One is the Mahalanobis distance (Lee et al. 2018, https://arxiv.org/abs/1807.03888, with one class; covariance as
    Ledoit and Wolf 2004). It needs no outliers, but hardly notices a drawn face. The other runs along the direction
    that separates training data from outliers best (Hendrycks et al. 2019, https://arxiv.org/abs/1812.04606; here by
    logistic regression). It notices what it was fitted on.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    direction: NDArray[np.float32]
    percentiles: NDArray[np.float32]

    @classmethod
    def fit(cls, training: Any, validation: Any, outliers: Any) -> OODDetector:
        """Fit it on the styles (N, S) of training sequences (real and fake), of validation ones, and of outliers."""
        from sklearn.covariance import LedoitWolf
        from sklearn.linear_model import LogisticRegression

        training, outliers = (np.asarray(styles, np.float64) for styles in (training, outliers))
        scale = training.std(axis=0) + 1e-6  # Ledoit and Wolf shrink towards equal variances: make them equal first
        fitted = LedoitWolf().fit(training / scale)
        whitening = np.linalg.cholesky(fitted.precision_) / scale[:, None]
        both = np.concatenate([training, outliers])
        spread = both.std(axis=0) + 1e-6
        is_outlier = np.repeat([0, 1], [len(training), len(outliers)])
        regression = LogisticRegression(C=SHRINKING, class_weight="balanced", max_iter=2000)
        direction = regression.fit((both - both.mean(axis=0)) / spread, is_outlier).coef_[0] / spread
        parts = (fitted.location_ * scale, whitening, direction, np.tile(np.arange(101.0), (3, 1)))
        draft = cls(*(part.astype(np.float32) for part in parts))
        distances = draft.distances(validation)
        separate = np.percentile(distances, range(101), axis=1).T
        larger = np.percentile(_larger(distances, separate), range(101))
        return replace(draft, percentiles=np.vstack([separate, larger]).astype(np.float32))

    def distances(self, styles: Any) -> NDArray[np.float64]:
        """Both distances (2, N) of styles (N, S): in standard deviations of the training data, and towards outliers."""
        away = np.asarray(styles, np.float64) - self.mean
        mahalanobis = np.linalg.norm(away @ self.whitening, axis=-1) / np.sqrt(self.whitening.shape[1])
        return np.stack([mahalanobis, away @ self.direction])

    def percentile(self, styles: Any) -> NDArray[np.float64]:
        """The percentage (N,) of validation sequences that lie nearer to the training data than styles (N, S) do.

        From `OOD_PERCENTILE` on, the input is unusual for the model, and its score should be treated with caution.
        """
        larger = _larger(self.distances(styles), self.percentiles[:2])
        return np.asarray(np.interp(larger, self.percentiles[2], np.arange(101.0)))

    def save(self, path: str | Path) -> None:
        """Write `ood.npz`, whole or not at all."""
        with replacing(Path(path)) as partial:
            np.savez_compressed(partial, **asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> OODDetector:
        """Read it. Raises `FileNotFoundError` if there is none, `ValueError` if the file is not one."""
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as stored:
                return cls(**{part.name: stored[part.name] for part in fields(cls)})
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: there is no such file. Only pretrained models have one.") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not an out-of-distribution detector ({error}). Run pretrain again.") from error


def _larger(distances: NDArray[np.float64], percentiles: Any) -> NDArray[np.float64]:
    """Of the percentiles of two distances (2, N), the larger."""
    ranks = [np.interp(*both, np.arange(101.0)) for both in zip(distances, percentiles, strict=True)]
    return np.asarray(np.maximum(*ranks))
