"""How unlike what a model was trained on a video is: how far what its middle layers see lies from that of training.

`ood.npz`, beside the model, float32: of the style of training's sequences, averaged over time, `mean` (S,) and
`whitening` (S, S); `direction` (S,), towards pictures that are no photographs of faces; `percentiles` (3, 101), 0 to
100, of validation sequences of unseen people: their distances, how far they go in that direction, the larger of both.
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

OOD_PERCENTILE = 97.0  # percentile from which on a video counts as unlike training's: three in a hundred of its own do
SHRINKING = 0.03  # inverse strength of the penalty on `direction`: there are few outliers for so many values


@dataclass(frozen=True)
class OODDetector:
    """Two distances from training, read as a percentile of what validation's sequences have: the larger one counts.

    One is Mahalanobis', which needs no example of the foreign but hardly sees a drawn face (Lee et al. 2018,
    https://arxiv.org/abs/1807.03888, with one class; covariance as Ledoit and Wolf 2004). The other goes along the
    direction that tells training from outliers best, which sees what it was shown and much that is like it
    (Hendrycks et al. 2019, https://arxiv.org/abs/1812.04606, here by logistic regression).
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    direction: NDArray[np.float32]
    percentiles: NDArray[np.float32]

    @classmethod
    def fit(cls, training: Any, validation: Any, outliers: Any) -> OODDetector:
        """From styles (N, S) of training's sequences, real and blended alike, of validation's, and of outliers."""
        from sklearn.covariance import LedoitWolf
        from sklearn.linear_model import LogisticRegression

        training, outliers = (np.asarray(styles, np.float64) for styles in (training, outliers))
        scale = training.std(axis=0) + 1e-6  # shrunk towards equal variances, so they are made equal first
        fitted = LedoitWolf().fit(training / scale)
        whitening = np.linalg.cholesky(fitted.precision_) / scale[:, None]
        both = np.concatenate([training, outliers])
        spread = both.std(axis=0) + 1e-6
        foreign = np.repeat([0, 1], [len(training), len(outliers)])
        told = LogisticRegression(C=SHRINKING, class_weight="balanced", max_iter=2000)
        direction = told.fit((both - both.mean(axis=0)) / spread, foreign).coef_[0] / spread
        known = (fitted.location_ * scale, whitening, direction, np.tile(np.arange(101.0), (3, 1)))
        draft = cls(*(part.astype(np.float32) for part in known))
        distances = draft.distances(validation)
        apart = np.percentile(distances, range(101), axis=1).T
        larger = np.percentile(_larger(distances, apart), range(101))
        return replace(draft, percentiles=np.vstack([apart, larger]).astype(np.float32))

    def distances(self, styles: Any) -> NDArray[np.float64]:
        """Of styles (N, S) both (2, N): in standard deviations of training's, and towards the outliers."""
        away = np.asarray(styles, np.float64) - self.mean
        mahalanobis = np.linalg.norm(away @ self.whitening, axis=-1) / np.sqrt(self.whitening.shape[1])
        return np.stack([mahalanobis, away @ self.direction])

    def percentile(self, styles: Any) -> NDArray[np.float64]:
        """Of styles (N, S): the share of validation sequences that lie nearer to training's, 0 to 100.

        `OOD_PERCENTILE` or more means that the model has seen nothing like it, and that its score is a guess.
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
            raise FileNotFoundError(
                f"{path}: this model does not know what it has seen: only pretrained ones do"
            ) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} does not hold styles of a training ({error}). Run pretrain again.") from error


def _larger(distances: NDArray[np.float64], percentiles: Any) -> NDArray[np.float64]:
    """The larger of the percentiles that two distances (2, N) have."""
    ranks = [np.interp(*both, np.arange(101.0)) for both in zip(distances, percentiles, strict=True)]
    return np.asarray(np.maximum(*ranks))
