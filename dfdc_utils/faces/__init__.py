"""Faces: found in frames, followed over time, cropped and kept on disk. Taught in notebook 02."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
