"""Models: the networks, and what lies in a trained model's folder. Taught in notebook 04."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
