from .build import (
    data_folder as data_folder,
)
from .build import (
    find_data as find_data,
)
from .build import (
    make_sample as make_sample,
)
from .build import (
    plan_clips as plan_clips,
)
from .clips import ClipRenderer as ClipRenderer
