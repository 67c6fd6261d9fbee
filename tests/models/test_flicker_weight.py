from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dfdc_utils.models import Flicker

KNOWN = Flicker((-1.0, 0.5, 0.25), 0.2, 100)


def measured(more: float) -> list[float]:
    """A face that flickers by `more` standard deviations more than expected."""
    return [-1 + 0.5 * 2 + 0.25 * 1 + 0.2 * more, 2.0, 1.0]


def test_it_is_fitted_on_real_clips_only_and_finds_what_made_them() -> None:
    generator = np.random.default_rng(0)
    known = generator.normal(size=(2000, 2))
    new = -1 + known @ [0.5, 0.25] + generator.normal(0, 0.2, 2000)
    fitted = Flicker.fit(np.column_stack([new, known]))
    assert fitted.expected == pytest.approx(KNOWN.expected, abs=0.02)
    assert fitted.spread == pytest.approx(0.2, rel=0.05)
    assert fitted.clips == 2000


@pytest.mark.parametrize(("more", "counts"), [(0, 0), (1.5, 1.5), (-2, -2), (40, 4), (-40, -4)])
def test_an_excess_counts_up_to_four_deviations(more: float, counts: float) -> None:
    assert KNOWN.excess(measured(more)) == pytest.approx(counts)


def test_an_excess_adds_to_the_logit_and_what_was_not_measured_adds_nothing() -> None:
    scores = np.array([[0.2, 0.5, 0.7], [0.3, 0.6, 0.8]])  # two views of three windows
    added = KNOWN.add(scores, [measured(1), (), measured(-1)])
    moved = np.log(added / (1 - added)) - np.log(scores / (1 - scores))
    assert moved == pytest.approx(np.broadcast_to([1, 0, -1], (2, 3)))


def test_it_is_stored_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "flicker.json").write_text(KNOWN.to_json())
    read = Flicker.load(tmp_path / "flicker.json")
    assert read.excess(measured(1.25)) == pytest.approx(1.25)


@pytest.mark.parametrize(
    "changed", [{"spread": 0}, {"expected": [1, 2]}, {"expected": [1, 2, float("nan")]}, {"weight": float("inf")}]
)
def test_a_damaged_file_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    path = tmp_path / "flicker.json"
    path.write_text(json.dumps(json.loads(KNOWN.to_json()) | changed))
    with pytest.raises(ValueError, match="does not say how much faces flicker"):
        Flicker.load(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"flicker\.json does not say"):
        Flicker.load(path)
