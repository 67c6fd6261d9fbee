from .build import (
    SampleParameters as SampleParameters,
    make_sample as make_sample,
    plan_clips as plan_clips,
)
from .clips import ClipRenderer as ClipRenderer
from .location import (
    find_data as find_data,
    name_data as name_data,
)
from .motion import (
    FRAME_RATE as FRAME_RATE,
    SAMPLE_RATE as SAMPLE_RATE,
)
