"""Figures, by the stage that they show: what they have in common is in `theme`."""

from dfdc_utils.plots.faces import choose_pairs, contact_sheet, face_cells, face_strip, show_frames
from dfdc_utils.plots.results import (
    plot_calibration,
    plot_confusion,
    plot_gains,
    plot_roc,
    plot_scores,
    plot_threshold,
)
from dfdc_utils.plots.theme import COLOURS, DPI, FAKE, FILLED, REAL, use_theme
from dfdc_utils.plots.tracks import boxed_frames, draw_boxes, plot_fill_policies, plot_timeline, show_track
from dfdc_utils.plots.training import plot_history
from dfdc_utils.plots.verdicts import lay_heat, plot_score_over_time, show_evidence

__all__ = [
    "COLOURS",
    "DPI",
    "FAKE",
    "FILLED",
    "REAL",
    "boxed_frames",
    "choose_pairs",
    "contact_sheet",
    "draw_boxes",
    "face_cells",
    "face_strip",
    "lay_heat",
    "plot_calibration",
    "plot_confusion",
    "plot_fill_policies",
    "plot_gains",
    "plot_history",
    "plot_roc",
    "plot_score_over_time",
    "plot_scores",
    "plot_threshold",
    "plot_timeline",
    "show_evidence",
    "show_frames",
    "show_track",
    "use_theme",
]
