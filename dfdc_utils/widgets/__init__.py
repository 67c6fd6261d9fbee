"""Widgets for notebooks. They work by keyboard, in light and dark themes."""

from importlib.util import find_spec

import lazy_loader

if find_spec("ipywidgets") is None:
    raise ModuleNotFoundError('widgets need ipywidgets: pip install "dfdc_utils[notebooks]"', name="ipywidgets")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
