from .augmentation import (
    augment_sequence as augment_sequence,
    augment_sound as augment_sound,
)
from .blending import (
    TYPICAL as TYPICAL,
    Blend as Blend,
    Outline as Outline,
    align as align,
    bend as bend,
    fill_polygon as fill_polygon,
    find_landmarks as find_landmarks,
    self_blend as self_blend,
    swap_face as swap_face,
)
from .dataset import (
    OTHERS as OTHERS,
    Plan as Plan,
    SelfBlends as SelfBlends,
    SequenceStore as SequenceStore,
    Store as Store,
    WrongSounds as WrongSounds,
    load_sequence as load_sequence,
    make_batches as make_batches,
    make_dataset as make_dataset,
    plan_batches as plan_batches,
    score_people as score_people,
    stack_faces as stack_faces,
    with_judged_sound as with_judged_sound,
)
from .splits import (
    hash_faces as hash_faces,
    prepare as prepare,
    report_leaks as report_leaks,
    split_by_group as split_by_group,
)
