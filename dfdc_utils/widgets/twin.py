"""What is shown of a widget where no kernel runs: in a stored notebook, and on a website."""

from typing import Any

import jinja2

TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader("dfdc_utils.widgets", ""), autoescape=True)


class HasTwin:
    """A base before ipywidgets' own: beside the live widget, notebooks store `as_html()`, a picture of its state."""

    def _repr_mimebundle_(self: Any, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/html": self.as_html()}  # type: ignore[misc]
