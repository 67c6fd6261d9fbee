"""The documentation site: `make docs` builds it from the README, docs/, the executed notebooks and the docstrings."""

import json
from typing import Any

from dfdc_utils import __version__

project = "Deepfake detection on DFDC"
author = copyright = "The dfdc-deepfake-detection contributors"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
# The sources lie where the repository has them, so that the links in them work in both places.
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "docs/*.md",
    "dfdc_utils/models/weights/pretrained/card.md",
    "notebooks/0*.ipynb",
]
root_doc = "docs/index"


def setup(app: Any) -> None:
    """Give figures of notebooks the alternative text that is stored with them, as MyST-NB wants it."""

    def add_alternative_texts(_app: Any, docname: str, source: list[str]) -> None:
        if docname.startswith("notebooks/"):
            notebook = json.loads(source[0])
            for cell in notebook["cells"]:
                for output in cell.get("outputs", []):
                    if alt := output.get("metadata", {}).get("image/jpeg", {}).get("alt"):
                        cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
            source[0] = json.dumps(notebook)

    app.connect("source-read", add_alternative_texts)


nb_execution_mode = "off"  # the stored outputs are shown
nb_merge_streams = True
nb_render_markdown_format = "myst"
myst_heading_anchors = 3
myst_links_external_new_tab = True
default_role = "code"  # docstrings put names between single backticks
autodoc_typehints = "none"  # the signature would be longer than the text
autodoc_inherit_docstrings = False  # Keras writes its own in Markdown, which reStructuredText cannot read
autodoc_member_order = "bysource"
add_module_names = False

html_theme = "furo"
html_title = project
html_extra_path = ["site"]
html_static_path, html_css_files = ["static"], ["print.css"]
html_show_sphinx = False
