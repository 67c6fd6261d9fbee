"""What widgets share: a picture where no kernel runs, in a stored notebook or on a website; and one thing at a time."""

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any

import jinja2

TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader("dfdc_utils.widgets", ""), autoescape=True)


class HasTwin:
    """A base before ipywidgets' own: beside the live widget, notebooks store `as_html()`, a picture of its state."""

    def _repr_mimebundle_(self: Any, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/html": self.as_html()}  # type: ignore[misc]


def one_at_a_time(react: Callable[..., None]) -> Callable[..., None]:
    """Let a widget's reaction wait for those that run: JupyterLab handles messages in two threads of the kernel."""

    @wraps(react)
    def wait(self: Any, *given: Any, **named: Any) -> None:
        with vars(self).setdefault("_reacting", RLock()):
            react(self, *given, **named)

    return wait
