"""Deepfake detection on DFDC videos with a CNN-LSTM.

Names are loaded when they are first used, so that `import dfdc_utils` takes milliseconds and no preprocessing worker
loads TensorFlow. `__init__.pyi` lists the public names.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
