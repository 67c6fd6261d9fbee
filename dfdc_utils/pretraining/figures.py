"""How well pretraining's heads tell fakes of unseen people, and familiarity what is no photograph of a face."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from dfdc_utils.evaluation.intervals import bootstrap_interval
from dfdc_utils.models.ood import UNFAMILIAR, Familiarity
from dfdc_utils.pretraining.features import Seen, SeenOutliers

SELF_BLENDS, SWAPS = "self-blends", "swaps"
RESAMPLES = 400  # draws for an interval: more move its ends in the third digit only


def judge_heads(
    unseen: dict[str, Seen], scores: dict[tuple[str, str], NDArray[np.float64]], people: pd.DataFrame
) -> pd.DataFrame:
    """AUC with its interval, of each head, on each kind of fakes, over all qualities of video and over each, and which
    head is `shipped`.

    That is the mean, which can know nothing of how motion is simulated here, unless the LSTM is better on self-blends
    by more than chance: above the mean's interval.
    """
    rows = []
    for (head, fakes), values in scores.items():
        crfs = unseen[fakes].crfs
        qualities = {"all": crfs >= 0, "no video codec": crfs == 0}
        for best, worst in ((18, 24), (25, 31), (32, 40)):
            qualities[f"crf {best} to {worst}"] = (crfs >= best) & (crfs <= worst)
        table = pd.DataFrame(
            {
                "label": np.where(unseen[fakes].labels > 0, "FAKE", "REAL"),
                "original": np.tile(people["identity"].to_numpy(), 2),
                "score": values,
            }
        )
        for quality, chosen in qualities.items():
            part = table[chosen]
            if part["original"].nunique() < 2:
                continue
            auc = roc_auc_score(part["label"] == "FAKE", part["score"])
            low, high = bootstrap_interval(part, roc_auc_score, resamples=RESAMPLES)
            rows.append((head, fakes, quality, len(part) // 2, auc, low, high))
    figures = pd.DataFrame(rows, columns=["head", "fakes", "quality", "pairs", "auc", "low", "high"])
    over_all = figures[(figures["fakes"] == SELF_BLENDS) & (figures["quality"] == "all")].set_index("head")
    shipped = "lstm" if over_all.loc["lstm", "auc"] > over_all.loc["mean", "high"] else "mean"
    return figures.assign(shipped=figures["head"] == shipped)


def judge_familiarity(
    familiarity: Familiarity,
    seen: NDArray[np.float32],
    usual: NDArray[np.float32],
    foreign: SeenOutliers,
    unseen_foreign: SeenOutliers,
) -> pd.DataFrame:
    """Of each kind of outlier, made of validation's people, which share is told, and which if the kind were unknown."""
    rows = []
    for kind in dict.fromkeys(unseen_foreign.kinds.tolist()):
        films = unseen_foreign.styles[unseen_foreign.kinds == kind]
        others = Familiarity.fit(seen, usual, foreign.styles[foreign.kinds != kind])
        told, told_unknown = ((one.percentile(films) >= UNFAMILIAR).mean() for one in (familiarity, others))
        rows.append((kind, len(films), told, told_unknown))
    return pd.DataFrame(rows, columns=["kind", "films", "told", "told_if_unknown"])
