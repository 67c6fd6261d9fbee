"""Sequences of face crops: splits, `tf.data`, augmentation, fakes made of real videos. Taught in notebook 03."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
