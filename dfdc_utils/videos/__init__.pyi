from .catalog import (
    LABELS as LABELS,
    DataKind as DataKind,
    balance_classes as balance_classes,
    count_labels as count_labels,
    list_videos as list_videos,
    name_data as name_data,
    read_catalog as read_catalog,
)
from .decoding import (
    Clip as Clip,
    FrameView as FrameView,
    Image as Image,
    probe_video as probe_video,
)
from .encoding import (
    FRAME_RATE as FRAME_RATE,
    SAMPLE_RATE as SAMPLE_RATE,
    Preview as Preview,
    encode_and_decode as encode_and_decode,
    make_preview as make_preview,
    write_clip as write_clip,
)
from .sampling import (
    sample_frames as sample_frames,
    sample_windows as sample_windows,
)
from .sound import (
    SOUND_RATE as SOUND_RATE,
    Sound as Sound,
    read_sound as read_sound,
)
