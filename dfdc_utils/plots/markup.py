"""Pieces of HTML: colours come from the theme around them, and nothing from a table is taken for markup."""

from __future__ import annotations

import base64
from html import escape

import cv2

from dfdc_utils.videos.frames import Image

# JupyterLab's own colours, which change with its theme; elsewhere what is around.
FAINT = "var(--jp-ui-font-color2, inherit)"
LINE = "var(--jp-border-color1, #9e9e9e)"
QUALITY = 85  # of a JPEG that is only looked at: half the bytes of 95


def image_tag(image: Image, alt: str) -> str:
    """A uint8 RGB image as `<img>`, as wide as what it stands in, with its text for those who do not see it."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    source = data_uri(data.tobytes(), "image/jpeg")
    return f'<img src="{source}" alt="{escape(alt)}" style="display:block;width:100%">'


def data_uri(content: bytes, kind: str) -> str:
    """A file's content as an address, so that a page needs nothing beside itself. `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def note(text: str) -> str:
    """A paragraph in a frame: why there is no picture."""
    style = f"border:1px solid {LINE};padding:8px;margin:0;overflow-wrap:anywhere"
    return f'<p style="line-height:1.4;{style}">{escape(text)}</p>'


def pictures(captioned: list[tuple[str, Image]], *, what: str) -> str:
    """Images in rows as large as they are, each with its caption below, which with `what` is its text too."""
    figures = [
        f'<figure style="margin:0;width:{image.shape[1]}px">{image_tag(image, f"{what} at {caption}")}'
        f'<figcaption style="font-size:11px;text-align:center">{escape(caption)}</figcaption></figure>'
        for caption, image in captioned
    ]
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px;margin:6px 0">{"".join(figures)}</div>'
