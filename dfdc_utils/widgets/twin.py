"""What widgets share: a picture where no kernel runs, in a stored notebook or on a website; and one thing at a time."""

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import Any

import ipywidgets as ui
import jinja2

TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader("dfdc_utils.widgets", ""), autoescape=True)


class HasTwin:
    """A base before `VBox`: beside the live widget, notebooks store `as_html()`, a picture of its state.

    It adds a part without a look of its own, which names the handles of sliders for screen readers.
    """

    def __init__(self: Any, children: list[ui.Widget]) -> None:
        script = {"application/javascript": TEMPLATES.get_template("sliders.js").render()}
        run = ({"output_type": "display_data", "data": script, "metadata": {}},)
        super().__init__([*children, ui.Output(outputs=run, layout=ui.Layout(display="none"))])  # type: ignore[call-arg]
        self.add_class("dfdc-named")

    def _repr_mimebundle_(self: Any, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/html": self.as_html()}  # type: ignore[misc]


def one_at_a_time(react: Callable[..., None]) -> Callable[..., None]:
    """Let a widget's reaction wait for those that run: JupyterLab handles messages in two threads of the kernel."""

    @wraps(react)
    def wait(self: Any, *given: Any, **named: Any) -> None:
        with vars(self).setdefault("_reacting", RLock()):
            react(self, *given, **named)

    return wait
