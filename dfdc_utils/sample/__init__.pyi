from .build import (
    SampleParameters as SampleParameters,
    make_sample as make_sample,
    plan_clips as plan_clips,
)
from .clips import ClipRenderer as ClipRenderer
from .location import (
    find_data as find_data,
)
