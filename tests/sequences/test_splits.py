from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from tables import families, table_of

from dfdc_utils.sequences import report_leaks, split_by_group
from dfdc_utils.videos import LABELS

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
        split = split_by_group(table, test=test, validation=validation, seed=seed)
    except ValueError as error:
        assert "split has no" in str(error)
        assert with_both < 3, "three families with both classes are enough for three splits"
        return
    assert split["video"].tolist() == table["video"].tolist()
    assert (split.groupby("original")["split"].nunique() == 1).all()
    for part in ("train", "validation", "test"):
        assert set(split.loc[split["split"] == part, "label"]) == set(LABELS)
    leaks = report_leaks(split)
    assert (leaks.loc[~leaks["allowed"], "shared"].fillna(0) == 0).all()
    again = split_by_group(table.sample(frac=1, random_state=1), test=test, validation=validation, seed=seed)
    assert dict(zip(again["video"], again["split"], strict=True)) == dict(
        zip(split["video"], split["split"], strict=True)
    ), "the order of the rows must not matter"


@settings(max_examples=30, deadline=None)
@given(st.integers(60, 200), st.floats(0.1, 0.5), st.floats(0.1, 0.3), st.integers(0, 9))
def test_shares_are_kept_where_there_are_enough(count: int, test: float, validation: float, seed: int) -> None:
    split = split_by_group(families(count), test=test, validation=validation, seed=seed)
    shares = split.groupby("split")["original"].nunique() / count
    wanted = {"test": test, "validation": validation, "train": 1 - test - validation}
    for part, share in wanted.items():
        assert abs(shares[part] - share) <= 0.05


def test_seeds_split_differently() -> None:
    first, second = (split_by_group(families(40), seed=seed)["split"].tolist() for seed in (0, 1))
    assert first != second


def test_a_split_needs_labels() -> None:
    table = table_of([("REAL", "v0"), ("", "v1"), ("FAKE", "v0")])
    with pytest.raises(ValueError, match="1 videos have no label, v1 first"):
        split_by_group(table)


@pytest.mark.parametrize(("test", "validation"), [(0.6, 0.4), (0, 0.2), (0.2, 0), (-0.1, 0.2), (0.9, 0.3), (1, 0.1)])
def test_shares_must_leave_something_to_train_on(test: float, validation: float) -> None:
    with pytest.raises(ValueError, match=r"test=.* and validation="):
        split_by_group(families(20), test=test, validation=validation)


def test_too_few_originals_are_told() -> None:
    with pytest.raises(ValueError, match=r"split has no .+ 2 groups by original are too few \(2 REAL, 2 FAKE\)"):
        split_by_group(families(2))


# Leaks


def test_planted_leaks_are_found() -> None:
    table = split_by_group(families(30, fakes_each=2))
    fakes = table.index[(table["label"] == "FAKE") & (table["split"] == "train")]
    table.loc[fakes[0], "split"] = "test"
    found = report_leaks(table).set_index("check")
    assert found.loc["originals", "shared"] == 1
    assert found.loc["originals", "example"] == table.loc[fakes[0], "original"]
    assert found.loc["videos", "shared"] == 0

    copied = table[table["split"] == "validation"].head(2).assign(split="train")
    found = report_leaks(pd.concat([table, copied])).set_index("check")
    assert found.loc["videos", "shared"] == 2


def test_shared_parts_are_reported_and_allowed() -> None:
    found = report_leaks(split_by_group(families(30))).set_index("check")
    assert found.loc["parts", "shared"] == 1 and found.loc["parts", "allowed"]
    assert not found.loc[["videos", "originals", "people"], "allowed"].any()


# People and parts


def with_people(count: int, people: int) -> pd.DataFrame:
    """Families of `count` originals in which `people` people appear in turn."""
    table = families(count)
    number = table["original"].str.removeprefix("o").astype(int) % people
    return table.assign(person=number.astype(str))


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 80), st.integers(8, 20), st.integers(0, 9))
def test_people_are_kept_apart_where_they_are_known(count: int, people: int, seed: int) -> None:
    split = split_by_group(with_people(count, people), seed=seed)
    assert (split.groupby("person")["split"].nunique() == 1).all()
    assert (split.groupby("original")["split"].nunique() == 1).all()
    found = report_leaks(split).set_index("check")
    assert found.loc["people", "shared"] == 0


def test_a_split_by_group_shares_people_and_the_report_counts_them() -> None:
    split = split_by_group(with_people(60, 30), by="original")
    found = report_leaks(split).set_index("check")
    assert found.loc["people", "shared"] > 10 and not found.loc["people", "allowed"]


def test_what_the_table_does_not_know_is_not_counted_as_zero() -> None:
    found = report_leaks(split_by_group(families(30))).set_index("check")
    assert pd.isna(found.loc["people", "shared"])
    assert found.loc["people", "example"] == "the people are not known"


def test_one_unknown_person_makes_the_people_unknown() -> None:
    table = with_people(30, 30)
    table.loc[0, "person"] = ""
    assert split_by_group(table)["group"].isin(table["original"]).all()


def test_two_people_in_one_video_tie_their_groups() -> None:
    table = with_people(30, 30)
    table.loc[table["original"] == "o3", "person"] = "3+7"
    split = split_by_group(table).set_index("original")["split"].groupby(level=0).first()
    assert split["o3"] == split["o7"]


def test_parts_are_kept_apart_where_there_are_many() -> None:
    table = families(60)
    number = table["original"].str.removeprefix("o").astype(int)
    split = split_by_group(table.assign(part=(number % 12).astype(str)))
    assert (split.groupby("part")["split"].nunique() == 1).all()
    few = split_by_group(table.assign(part=(number % 3).astype(str)))
    assert (few.groupby("part")["split"].nunique() > 1).any()


def test_a_split_without_fakes_is_possible_for_self_blends() -> None:
    real = families(30).query("label == 'REAL'")
    with pytest.raises(ValueError, match="split has no FAKE"):
        split_by_group(real)
    assert set(split_by_group(real, need_fakes=False)["split"]) == {"train", "validation", "test"}


def test_fakes_of_an_unknown_original_are_counted() -> None:
    table = split_by_group(families(30))
    lost = table["label"].eq("FAKE") & (table["label"].eq("FAKE").cumsum() <= 5)
    table.loc[lost, "original"] = table.loc[lost, "video"]
    found = report_leaks(table).set_index("check")
    row = found.loc["fakes of an unknown original, which may be in another split"]
    assert row["shared"] == lost.sum() == 5 and row["allowed"]
