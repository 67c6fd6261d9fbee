"""Prediction: a verdict on any video, with what it rests on. Taught in notebook 06."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
