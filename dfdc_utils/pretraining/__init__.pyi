from .encoder import EncoderConfig as EncoderConfig
from .recipe import (
    PretrainingConfig as PretrainingConfig,
    pretrain as pretrain,
)
