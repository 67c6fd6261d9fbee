from .build import (
    data_folder as data_folder,
    find_data as find_data,
    make_sample as make_sample,
    plan_clips as plan_clips,
)
from .clips import ClipRenderer as ClipRenderer
from .voices import make_sound_fakes as make_sound_fakes
