"""What is shown of a widget where no kernel runs: in a stored notebook, and on a website."""

from typing import Any


class HasTwin:
    """A base before ipywidgets' own: beside the live widget, notebooks store `as_html()`, a picture of its state."""

    def as_html(self) -> str:
        """HTML of what the widget shows now."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        return {**bundle, "text/html": self.as_html()}
