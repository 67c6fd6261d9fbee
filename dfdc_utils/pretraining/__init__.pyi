from .encoder import EncoderConfig as EncoderConfig
from .mesh import FaceMesh as FaceMesh
from .recipe import (
    PretrainingConfig as PretrainingConfig,
    pretrain as pretrain,
)
