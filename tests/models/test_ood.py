from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfdc_utils.models import OOD_PERCENTILE, OODDetector


@pytest.fixture(scope="module")
def known() -> OODDetector:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(8, 8))
    training, validation = (generator.normal(size=(count, 8)) for count in (2000, 500))
    return OODDetector.fit(training @ mixing, validation @ mixing)


def test_what_is_like_training_has_any_percentile(known: OODDetector) -> None:
    generator = np.random.default_rng(1)
    mixing = np.random.default_rng(0).normal(size=(8, 8))
    percentiles = known.percentile(generator.normal(size=(2000, 8)) @ mixing)
    assert np.percentile(percentiles, [10, 50, 90]) == pytest.approx([10, 50, 90], abs=6)
    assert (percentiles >= OOD_PERCENTILE).mean() < 0.06


def test_what_is_far_away_is_flagged(known: OODDetector) -> None:
    """Also where each value alone looks usual and only their combination does not."""
    far = known.mean + 20 * np.eye(8)
    assert (known.percentile(far) >= OOD_PERCENTILE).all()
    mixed = np.random.default_rng(0).normal(size=(8, 8))
    rarest = np.linalg.svd(mixed)[2][-1]  # the direction that training varies least in
    usual = rarest * (1.9 * np.linalg.norm(mixed, axis=0) / np.abs(rarest)).min()  # within 1.9 sigma in each value
    assert known.percentile(known.mean + usual) >= OOD_PERCENTILE
    assert known.distance(known.mean[None]) == pytest.approx([0])


def test_it_is_the_same_after_a_file(known: OODDetector, tmp_path: Path) -> None:
    known.save(tmp_path / "ood.npz")
    features = np.random.default_rng(2).normal(size=(5, 8))
    np.testing.assert_array_equal(
        OODDetector.load(tmp_path / "ood.npz").percentile(features), known.percentile(features)
    )
    with pytest.raises(FileNotFoundError, match="Only pretrained models have one"):
        OODDetector.load(tmp_path / "nothing.npz")
    (tmp_path / "other.npz").write_bytes(b"other")
    with pytest.raises(ValueError, match="is not an out-of-distribution detector"):
        OODDetector.load(tmp_path / "other.npz")
