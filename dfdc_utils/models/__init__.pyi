from .calibration import Calibration as Calibration, binomial_interval as binomial_interval, calibrate as calibrate
from .card import write_card as write_card
from .cnn_lstm import build_cnn_lstm as build_cnn_lstm, copy_cnn as copy_cnn, prepare_frames as prepare_frames
from .flicker import Flicker as Flicker
from .folder import (
    MEAN_BASELINE as MEAN_BASELINE,
    PRETRAINED as PRETRAINED,
    ModelFolder as ModelFolder,
    StartFrom as StartFrom,
    load_model as load_model,
    model_path as model_path,
    read_note as read_note,
    start_from as start_from,
)
from .frame_encoder import (
    WithStyle as WithStyle,
    build_frame_encoder as build_frame_encoder,
    build_on_encoder as build_on_encoder,
    copy_encoder as copy_encoder,
    take_apart as take_apart,
)
from .ood import OOD_PERCENTILE as OOD_PERCENTILE, OODDetector as OODDetector
from .sync import (
    add_sound as add_sound,
    contrast as contrast,
    features_over_time as features_over_time,
    fit_sharpness as fit_sharpness,
    frame_evidence as frame_evidence,
    hears as hears,
    picture_part as picture_part,
    sync_part as sync_part,
)
