from .encoder import EncoderConfig as EncoderConfig
from .flicker import add_flicker as add_flicker
from .mesh import FaceMesh as FaceMesh
from .places import add_places as add_places
from .recipe import (
    PretrainingConfig as PretrainingConfig,
    pretrain as pretrain,
)
