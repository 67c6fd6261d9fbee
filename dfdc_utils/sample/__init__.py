"""The embedded sample: synthetic clips in the layout of DFDC, so that everything runs at once and offline."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
