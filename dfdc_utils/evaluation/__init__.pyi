from .ablations import (
    ABLATIONS as ABLATIONS,
    ablate as ablate,
    summarise_ablations as summarise_ablations,
)
from .metrics import (
    METRICS as METRICS,
    REAL_PER_FAKE as REAL_PER_FAKE,
    bootstrap_interval as bootstrap_interval,
    calibration_error as calibration_error,
    count_calls as count_calls,
    resample_groups as resample_groups,
    roc_points as roc_points,
    weigh_precision as weigh_precision,
)
from .results import (
    compare as compare,
    evaluate as evaluate,
    judge as judge,
    score_baselines as score_baselines,
    score_videos as score_videos,
    summarise as summarise,
)
