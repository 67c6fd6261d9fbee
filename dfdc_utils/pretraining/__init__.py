"""How the weights in the package were made: photographs of real faces, and blends of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
