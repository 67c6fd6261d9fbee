from . import (
    errors as errors,
    evaluation as evaluation,
    faces as faces,
    files as files,
    models as models,
    plots as plots,
    prediction as prediction,
    pretraining as pretraining,
    processing as processing,
    sample as sample,
    sequences as sequences,
    training as training,
    videos as videos,
    widgets as widgets,
    workers as workers,
)
from .evaluation import (
    evaluate as evaluate,
    score_videos as score_videos,
    summarise as summarise,
)
from .faces import (
    SequenceConfig as SequenceConfig,
    load_face_detector as load_face_detector,
)
from .models import (
    ModelFolder as ModelFolder,
    build_cnn_lstm as build_cnn_lstm,
    load_model as load_model,
    start_from as start_from,
)
from .prediction import (
    Detector as Detector,
)
from .pretraining import (
    pretrain as pretrain,
)
from .processing import (
    read_manifest as read_manifest,
)
from .sample import (
    find_data as find_data,
    make_sample as make_sample,
)
from .sequences import (
    load_sequence as load_sequence,
    make_dataset as make_dataset,
    prepare as prepare,
    report_leaks as report_leaks,
    split_by_group as split_by_group,
)
from .training import (
    TrainingConfig as TrainingConfig,
    choose_strategy as choose_strategy,
    train as train,
)
from .videos import (
    balance_classes as balance_classes,
    probe_video as probe_video,
    read_catalog as read_catalog,
    sample_frames as sample_frames,
)

__version__: str
