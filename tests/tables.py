"""Catalogs without files, for what works on tables alone."""

from __future__ import annotations

import pandas as pd


def table_of(rows: list[tuple[str, str]]) -> pd.DataFrame:
    """A catalog of (label, original) pairs."""
    entries = [
        {"video": f"v{number}", "path": f"v{number}.mp4", "label": label, "original": original, "part": "p"}
        for number, (label, original) in enumerate(rows)
    ]
    return pd.DataFrame(entries, columns=["video", "path", "label", "original", "part"])


def families(count: int, fakes_each: int = 1) -> pd.DataFrame:
    """`count` originals, each with its fakes."""
    rows = [("REAL", f"o{number}") for number in range(count)]
    rows += [("FAKE", f"o{number}") for number in range(count) for _ in range(fakes_each)]
    table = table_of(rows)
    table.loc[table["label"] == "REAL", "video"] = table.loc[table["label"] == "REAL", "original"]
    return table
