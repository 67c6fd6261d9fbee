"""Two pictures under a handle that one drags: an original and its fake."""

from markupsafe import Markup

from dfdc_utils.plots import image_tag
from dfdc_utils.videos import Image
from dfdc_utils.widgets.twin import TEMPLATES


class Compare:
    """Show `left` and `right` in one place, left and right of a handle; drag it, or move it by the arrow keys.

    Each is a name and a picture, uint8 RGB (H, W, 3), all of one size. With several `right` ones, buttons choose which
    is shown. Plain HTML, so it works in a stored notebook, too. `width` is in pixels. Taught in notebook 01.
    """

    def __init__(self, left: tuple[str, Image], *right: tuple[str, Image], width: int = 640) -> None:
        self._left, self._right, self._width = left, right, width

    def __repr__(self) -> str:
        return f"Compare({' | '.join(name for name, _ in (self._left, *self._right))})"

    def _repr_html_(self) -> str:
        left, *rights = ((name, Markup(image_tag(image, name))) for name, image in (self._left, *self._right))
        return TEMPLATES.get_template("compare.html").render(left=left, rights=rights, width=self._width)
