from .encoder import EncoderConfig as EncoderConfig
from .flicker import add_flicker as add_flicker
from .mesh import FaceMesh as FaceMesh
from .recipe import (
    PretrainingConfig as PretrainingConfig,
    pretrain as pretrain,
)
