from __future__ import annotations

import time

import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st

from dfdc_utils.sequences import report_leaks, split_by_original
from dfdc_utils.videos import LABELS


def table_of(rows: list[tuple[str, str]]) -> pd.DataFrame:
    """A catalog of (label, original) pairs."""
    entries = [
        {"video": f"v{number}", "path": f"v{number}.mp4", "label": label, "original": original, "part": "p"}
        for number, (label, original) in enumerate(rows)
    ]
    return pd.DataFrame(entries, columns=["video", "path", "label", "original", "part"])


def families(count: int, fakes_each: int = 1) -> pd.DataFrame:
    rows = [("REAL", f"o{number}") for number in range(count)]
    rows += [("FAKE", f"o{number}") for number in range(count) for _ in range(fakes_each)]
    table = table_of(rows)
    table.loc[table["label"] == "REAL", "video"] = table.loc[table["label"] == "REAL", "original"]
    return table


# Splitting

tables = st.lists(st.tuples(st.sampled_from(LABELS), st.integers(0, 12).map(lambda number: f"o{number}")), max_size=60)


@settings(max_examples=60, deadline=None)
@given(tables, st.floats(0.05, 0.6), st.floats(0.05, 0.35), st.integers(0, 5))
def test_no_split_shares_an_original_and_each_has_both_classes(
    rows: list[tuple[str, str]], test: float, validation: float, seed: int
) -> None:
    table = table_of(rows)
    assume(len(table))
    with_both = (table.groupby("original")["label"].nunique() == 2).sum()
    try:
        split = split_by_original(table, test=test, validation=validation, seed=seed)
    except ValueError as error:
        assert "split has no" in str(error)
        assert with_both < 3, "three families with both classes are enough for three splits"
        return
    assert split["video"].tolist() == table["video"].tolist()
    assert (split.groupby("original")["split"].nunique() == 1).all()
    for part in ("train", "validation", "test"):
        assert set(split.loc[split["split"] == part, "label"]) == set(LABELS)
    leaks = report_leaks(split)
    assert (leaks.loc[leaks["harmful"], "leaks"] == 0).all()
    again = split_by_original(table.sample(frac=1, random_state=1), test=test, validation=validation, seed=seed)
    assert dict(zip(again["video"], again["split"], strict=True)) == dict(
        zip(split["video"], split["split"], strict=True)
    ), "the order of the rows must not matter"


@settings(max_examples=30, deadline=None)
@given(st.integers(60, 200), st.floats(0.1, 0.5), st.floats(0.1, 0.3), st.integers(0, 9))
def test_shares_are_kept_where_there_are_enough(count: int, test: float, validation: float, seed: int) -> None:
    split = split_by_original(families(count), test=test, validation=validation, seed=seed)
    shares = split.groupby("split")["original"].nunique() / count
    wanted = {"test": test, "validation": validation, "train": 1 - test - validation}
    for part, share in wanted.items():
        assert abs(shares[part] - share) <= 0.05


def test_seeds_split_differently() -> None:
    first, second = (split_by_original(families(40), seed=seed)["split"].tolist() for seed in (0, 1))
    assert first != second


def test_the_time_for_a_split_grows_with_the_originals_and_not_with_their_square() -> None:
    seconds = []
    for count in (1_000, 10_000):
        table = families(count, fakes_each=4)
        started = time.perf_counter()
        assert split_by_original(table)["split"].notna().all()
        seconds.append(time.perf_counter() - started)
    assert seconds[1] < 40 * seconds[0]


def test_a_split_needs_labels() -> None:
    table = table_of([("REAL", "v0"), ("", "v1"), ("FAKE", "v0")])
    with pytest.raises(ValueError, match="1 videos have no label, v1 first"):
        split_by_original(table)


@pytest.mark.parametrize(("test", "validation"), [(0.6, 0.4), (0, 0.2), (0.2, 0), (-0.1, 0.2), (0.9, 0.3), (1, 0.1)])
def test_shares_must_leave_something_to_train_on(test: float, validation: float) -> None:
    with pytest.raises(ValueError, match=r"test=.* and validation="):
        split_by_original(families(20), test=test, validation=validation)


def test_too_few_originals_are_told() -> None:
    with pytest.raises(ValueError, match=r"split has no .+ 2 originals are too few \(2 REAL, 2 FAKE\)"):
        split_by_original(families(2))


# Leaks


def test_planted_leaks_are_found() -> None:
    table = split_by_original(families(30, fakes_each=2))
    fakes = table.index[(table["label"] == "FAKE") & (table["split"] == "train")]
    table.loc[fakes[0], "split"] = "test"
    found = report_leaks(table).set_index("check")
    assert found.loc["originals in two splits", "leaks"] == 1
    assert found.loc["originals in two splits", "example"] == table.loc[fakes[0], "original"]
    assert found.loc["videos in two splits", "leaks"] == 0

    copied = table[table["split"] == "validation"].head(2).assign(split="train")
    found = report_leaks(pd.concat([table, copied])).set_index("check")
    assert found.loc["videos in two splits", "leaks"] == 2


def test_shared_parts_are_told_but_not_harmful() -> None:
    found = report_leaks(split_by_original(families(30))).set_index("check")
    assert found.loc["parts in two splits", "leaks"] == 1
    assert not found.loc["parts in two splits", "harmful"]
    assert found.loc[["videos in two splits", "originals in two splits"], "harmful"].all()
