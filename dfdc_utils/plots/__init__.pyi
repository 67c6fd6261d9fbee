from .faces import (
    STATUS_WORDS as STATUS_WORDS,
    boxed_frames as boxed_frames,
    choose_pairs as choose_pairs,
    contact_sheet as contact_sheet,
    describe_track as describe_track,
    draw_boxes as draw_boxes,
    face_cells as face_cells,
    face_strip as face_strip,
    plot_timeline as plot_timeline,
    show_frames as show_frames,
    show_track as show_track,
)
from .page import (
    describe as describe,
    figure_tag as figure_tag,
    image_tag as image_tag,
    lay_heat as lay_heat,
    list_verdicts as list_verdicts,
    note as note,
    pictures as pictures,
    write_page as write_page,
)
from .results import (
    plot_calibration as plot_calibration,
    plot_confusion as plot_confusion,
    plot_history as plot_history,
    plot_roc as plot_roc,
    plot_threshold as plot_threshold,
)
from .theme import COLOURS as COLOURS, use_theme as use_theme
