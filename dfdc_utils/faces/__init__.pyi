from .config import (
    FILL_POLICIES as FILL_POLICIES,
    SequenceConfig as SequenceConfig,
)
from .detectors import (
    Face as Face,
    FaceDetector as FaceDetector,
    HaarDetector as HaarDetector,
    YuNetDetector as YuNetDetector,
    find_yunet as find_yunet,
    largest as largest,
    load_face_detector as load_face_detector,
)
from .extraction import (
    Job as Job,
    Status as Status,
    blank_record as blank_record,
    describe_failure as describe_failure,
    extract_tracks as extract_tracks,
    own_face_detector as own_face_detector,
    work_on as work_on,
)
from .speech import (
    SLICE as SLICE,
    Speech as Speech,
    judge_mouth as judge_mouth,
    mouth_region as mouth_region,
)
from .storage import (
    deciding_tracks as deciding_tracks,
    encode_face as encode_face,
    find_finished as find_finished,
    load_slices as load_slices,
    median_time_step as median_time_step,
    read_faces as read_faces,
    sequence_paths as sequence_paths,
    spread_evenly as spread_evenly,
    write_faces as write_faces,
)
from .tracks import (
    Boxes as Boxes,
    CroppedTrack as CroppedTrack,
    Track as Track,
    box_overlap as box_overlap,
    crop_tracks as crop_tracks,
    fill_missing_boxes as fill_missing_boxes,
    follow_faces as follow_faces,
    hide_and_fill as hide_and_fill,
    reflect_indices as reflect_indices,
)
