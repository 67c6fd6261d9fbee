"""The documentation site, as far as it can be checked without building it: `make docs` turns warnings into errors."""

from __future__ import annotations

import re
import tomllib

from outside import ROOT

PUBLIC = {path.parent.name for path in (ROOT / "dfdc_utils").glob("*/__init__.py")} - {"pretraining"}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = set(re.findall(r"^([\w./*]+)$", index, re.MULTILINE))
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed
    assert {"../notebooks/0*", "../README", "../CHANGELOG"} <= listed


def test_the_reference_lists_every_folder() -> None:
    named = re.findall(r"automodule:: dfdc_utils\.(\w+)", (ROOT / "docs" / "api.md").read_text())
    assert set(named) == PUBLIC | {"processing"} and len(named) == len(set(named))


def test_what_builds_the_site_is_pinned_and_left_out_of_the_tests_installation() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = [re.fullmatch(r"([\w-]+)==[\d.]+", line) for line in extras["docs"]]
    assert len(names) == 3 and all(names)
    requirements = (ROOT / "requirements.txt").read_text().lower()
    assert not any(f"\n{name[1]}==" in requirements for name in names if name)
