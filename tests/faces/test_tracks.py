from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dfdc_utils.faces import FILL_POLICIES, Face, Track, box_overlap, fill_missing_boxes, follow_faces, hide_and_fill
from dfdc_utils.faces.tracks import MIN_FRACTION, crop_face, find_flaw, measure_sharpness, smooth_boxes


def face(x: float, y: float = 50, side: float = 40, score: float = 0.9) -> Face:
    return Face(np.array([x, y, side, side], float), score)


def track_of(boxes: list[list[float] | None]) -> Track:
    """A track with None where the face was missed."""
    detected = np.array([box is not None for box in boxes])
    filled = np.array([[np.nan] * 4 if box is None else box for box in boxes], float)
    return Track(filled, np.where(detected, 0.9, 0.0), detected, np.zeros(len(boxes), bool))


def centres(track: Track) -> list[float]:
    return (track.boxes[:, 0] + track.boxes[:, 2] / 2).tolist()


# Linking


def test_one_face_becomes_one_track() -> None:
    tracks = follow_faces([[face(10 + 5 * index, score=0.5 + index / 100)] for index in range(16)])
    assert len(tracks) == 1
    assert tracks[0].detected.all()
    assert not tracks[0].filled.any()
    assert tracks[0].boxes[:, 0].tolist() == [10 + 5 * index for index in range(16)]
    assert tracks[0].scores[3] == pytest.approx(0.53)


def test_two_people_side_by_side_become_two_tracks_the_larger_first() -> None:
    rng = np.random.default_rng(0)
    detections = []
    for index in range(16):
        faces = [face(50 + index, side=30), face(90 + index, side=44)]
        detections.append([faces[turn] for turn in rng.permutation(2)])  # detectors promise no order
    large, small = follow_faces(detections)
    assert set(large.boxes[:, 2]) == {44.0}
    assert small.boxes[:, 0].tolist() == [50 + index for index in range(16)]


def test_two_people_who_pass_each_other_keep_their_tracks() -> None:
    # Of different size, as one passes in front of the other: 60 and 30 pixels.
    detections = [[face(10 + 12 * index, side=60), face(220 - 12 * index, y=65, side=30)] for index in range(16)]
    front, back = follow_faces(detections)
    assert set(front.boxes[:, 2]) == {60.0}
    assert set(back.boxes[:, 2]) == {30.0}
    assert front.detected.all()
    assert back.detected.all()


@pytest.mark.parametrize("at", [0, 7, 15])
def test_a_false_hit_is_dropped(at: int) -> None:
    detections = [[face(100)] for _ in range(16)]
    detections[at].append(face(400, side=90, score=0.99))
    tracks = follow_faces(detections)
    assert len(tracks) == 1
    assert set(tracks[0].boxes[:, 0]) == {100.0}


def test_what_lasts_a_quarter_of_the_frames_is_kept_and_less_is_not() -> None:
    assert MIN_FRACTION == 0.25
    assert len(follow_faces([[face(100)]] * 4 + [[]] * 12)) == 1
    assert follow_faces([[face(100)]] * 3 + [[]] * 13) == []


def test_gaps_are_bridged_and_marked() -> None:
    tracks = follow_faces([[] if index in (0, 5, 6, 7, 15) else [face(100 + 3 * index)] for index in range(16)])
    assert len(tracks) == 1
    assert np.flatnonzero(~tracks[0].detected).tolist() == [0, 5, 6, 7, 15]
    assert np.isnan(tracks[0].boxes[[0, 5, 6, 7, 15]]).all()
    assert (tracks[0].scores[[0, 5, 6, 7, 15]] == 0).all()


def test_a_quick_step_of_one_width_is_followed_and_a_leap_is_not() -> None:
    step = [[face(100)] if index < 8 else [face(150)] for index in range(16)]
    assert len(follow_faces(step)) == 1
    leap = [[face(100)] if index < 8 else [face(300)] for index in range(16)]
    assert len(follow_faces(leap)) == 2


def test_nothing_found_gives_no_track() -> None:
    assert follow_faces([[]] * 16) == []
    assert follow_faces([]) == []


def test_the_main_person_is_the_one_with_most_area_over_time() -> None:
    # A large face in 5 frames against a middling one in all 16.
    detections = [[face(100, side=40)] + ([face(300, side=60)] if index < 5 else []) for index in range(16)]
    main, other = follow_faces(detections)
    assert main.area == pytest.approx(16 * 1600)
    assert other.area == pytest.approx(5 * 3600)


# Filling

SEEN = [None, [10, 20, 40, 50], [30, 40, 60, 70], None, None, [60, 10, 30, 40], None]


@pytest.mark.parametrize(
    ("policy", "third", "fourth", "last"),
    [
        ("past_mean", [20, 30, 50, 60], [20, 30, 50, 60], [100 / 3, 70 / 3, 130 / 3, 160 / 3]),
        ("interpolate", [40, 30, 50, 60], [50, 20, 40, 50], [60, 10, 30, 40]),
        ("hold", [30, 40, 60, 70], [30, 40, 60, 70], [60, 10, 30, 40]),
    ],
)
def test_fill_policies_by_number(policy: str, third: list, fourth: list, last: list) -> None:
    track = track_of(SEEN)
    filled = fill_missing_boxes(track, policy)
    assert filled.boxes[3] == pytest.approx(third)
    assert filled.boxes[4] == pytest.approx(fourth)
    assert filled.boxes[6] == pytest.approx(last)
    assert filled.boxes[0] == pytest.approx([10, 20, 40, 50]), "before the first sighting: its box"
    assert filled.filled.tolist() == [True, False, False, True, True, False, True]
    assert np.array_equal(filled.boxes[track.detected], track.boxes[track.detected])
    assert np.array_equal(filled.detected, track.detected)
    assert np.isnan(track.boxes[3]).all(), "the track given in is left as it is"


def test_drop_fills_nothing() -> None:
    dropped = fill_missing_boxes(track_of(SEEN), "drop")
    assert not dropped.filled.any()
    assert np.isnan(dropped.boxes[[0, 3, 4, 6]]).all()


def test_hidden_boxes_are_compared_with_what_each_policy_makes_of_them() -> None:
    still = track_of([[0, 0, 10, 10]] * 10)
    moving = track_of([[4 * index, 0, 40, 40] for index in range(10)])
    for policy in ("past_mean", "interpolate", "hold"):
        assert hide_and_fill(still, 0.3, policy).tolist() == [1.0] * 3
    means = {policy: hide_and_fill(moving, 0.3, policy).mean() for policy in ("past_mean", "interpolate", "hold")}
    assert means["interpolate"] > means["hold"] > means["past_mean"]
    assert hide_and_fill(moving, 0.3, "drop").tolist() == [0.0] * 3
    assert len(hide_and_fill(moving, 1.0)) == 9, "never all: there would be nothing to fill from"
    assert len(hide_and_fill(moving, 0.0)) == 0
    assert hide_and_fill(moving, 0.5, seed=1).tolist() != hide_and_fill(moving, 0.5, seed=2).tolist()


def test_past_mean_averages_what_was_seen_and_not_what_was_filled() -> None:
    filled = fill_missing_boxes(track_of([[0, 0, 10, 10], None, None, [30, 0, 10, 10], None]))
    assert filled.boxes[:, 0].tolist() == [0, 0, 0, 30, 15]


def test_filling_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"'mean' is not one of past_mean"):
        fill_missing_boxes(track_of(SEEN), "mean")
    with pytest.raises(ValueError, match="without any detection"):
        fill_missing_boxes(track_of([None, None]))


coordinates = st.floats(-500, 2000)
sizes = st.floats(1, 800)
boxes = st.tuples(coordinates, coordinates, sizes, sizes).map(list)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), boxes), min_size=1, max_size=20), st.sampled_from(FILL_POLICIES))
def test_filled_boxes_lie_within_the_range_of_those_seen(seen: list, policy: str) -> None:
    track = track_of(seen)
    if not track.detected.any():
        return
    filled = fill_missing_boxes(track, policy)
    known = track.boxes[track.detected]
    made_up = filled.boxes[filled.filled]
    assert (made_up >= known.min(axis=0) - 1e-9).all()
    assert (made_up <= known.max(axis=0) + 1e-9).all()
    if policy != "drop":
        assert not np.isnan(filled.boxes).any()
        assert (filled.filled ^ filled.detected).all()


# Overlap


@given(boxes, boxes)
def test_overlap_is_symmetric_and_from_0_to_1(a: list, b: list) -> None:
    a, b = np.array(a), np.array(b)
    overlap = box_overlap(a, b)
    assert 0 <= overlap <= 1 + 1e-9
    assert overlap == pytest.approx(box_overlap(b, a))
    assert box_overlap(a, a) == pytest.approx(1)


def test_overlap_by_number() -> None:
    box = np.array([0, 0, 10, 10.0])
    assert box_overlap(box, np.array([5, 0, 10, 10.0])) == pytest.approx(50 / 150)
    assert box_overlap(box, np.array([10, 0, 10, 10.0])) == 0
    assert box_overlap(box, np.array([2, 2, 5, 5.0])) == pytest.approx(0.25)
    assert box_overlap(box, np.zeros(4)) == 0


# Cropping


def gradient(width: int = 160, height: int = 90) -> np.ndarray:
    """Each pixel says where it is: red is x, green is y."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width)[None, :], np.arange(height)[:, None]
    return image


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    where=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    size=st.tuples(st.floats(0.01, 400), st.floats(0.01, 400)),
    face_size=st.integers(16, 64),
    margin=st.floats(1, 2),
)
def test_any_box_that_touches_the_frame_gives_a_full_crop(
    width: int, height: int, where: tuple, size: tuple, face_size: int, margin: float
) -> None:
    image = np.random.default_rng(0).integers(50, 200, (height, width, 3)).astype(np.uint8)
    # From just touching the frame from one side to just touching it from the other.
    x = (width + size[0]) * (where[0] + 1) / 2 - size[0]
    y = (height + size[1]) * (where[1] + 1) / 2 - size[1]
    if not (x < width and y < height and x + size[0] > 0 and y + size[1] > 0):
        return
    crop = crop_face(image, np.array([x, y, *size]), face_size, margin=margin)
    assert crop.shape == (face_size, face_size, 3)
    assert crop.dtype == np.uint8
    assert crop.min() > 0, "beyond its border the frame is reflected, never black"


@pytest.mark.parametrize("box", [[70, 35, 20, 20], [60, 30, 40, 30], [10, 5, 20, 20], [140, 70, 20, 20]])
@pytest.mark.parametrize("face_size", [16, 32, 96])
def test_the_middle_of_the_crop_is_the_middle_of_the_box(box: list[float], face_size: int) -> None:
    crop = crop_face(gradient(), np.array(box, float), face_size)
    middle = crop[face_size // 2 - 1 : face_size // 2 + 1, face_size // 2 - 1 : face_size // 2 + 1].mean(axis=(0, 1))
    # A pixel's value is its index, its centre half a pixel further; the square is rounded to whole pixels.
    assert middle[0] == pytest.approx(box[0] + box[2] / 2 - 0.5, abs=1.1)
    assert middle[1] == pytest.approx(box[1] + box[3] / 2 - 0.5, abs=1.1)


def test_margin_widens_the_square() -> None:
    tight, wide = (crop_face(gradient(), np.array([60, 30, 20, 20.0]), 40, margin=margin) for margin in (1.0, 2.0))
    assert np.ptp(tight[..., 0]) == pytest.approx(19, abs=1)
    assert np.ptp(wide[..., 0]) == pytest.approx(39, abs=1)


def test_the_crop_is_square_along_the_longer_side() -> None:
    crop = crop_face(gradient(), np.array([70, 10, 10, 60.0]), 60, margin=1.0)
    assert np.ptp(crop[..., 0]) == pytest.approx(59, abs=1)
    assert np.ptp(crop[..., 1]) == pytest.approx(59, abs=1)


def test_beyond_the_border_the_frame_is_reflected() -> None:
    crop = crop_face(gradient(), np.array([-20, 20, 40, 40.0]), 40, margin=1.0)
    assert crop[20, :, 0].tolist() == [*range(20, 0, -1), *range(20)]


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    checks = (np.indices((80, 80)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    crop = crop_face(checks, np.array([8, 8, 64, 64.0]), 16, margin=1.0)
    assert np.abs(crop.astype(int) - 128).max() <= 2


@pytest.mark.parametrize(
    "box", [[10, 10, 0, 20], [10, 10, 20, -5], [200, 10, 20, 20], [-30, 10, 20, 20], [10, 95, 20, 20], [np.nan] * 4]
)
def test_a_box_without_anything_of_the_frame(box: list[float]) -> None:
    with pytest.raises(ValueError, match="is empty or outside the frame of 160 x 90 pixels"):
        crop_face(gradient(), np.array(box, float))


# Smoothing


def test_a_still_face_stays_where_it_is() -> None:
    still = np.tile([10.5, 20.0, 40.0, 50.0], (16, 1))
    assert smooth_boxes(still) == pytest.approx(still)


def test_smoothing_takes_the_tremble_and_leaves_the_way() -> None:
    rng = np.random.default_rng(0)
    way = np.stack([np.linspace(0, 90, 16), np.linspace(50, 20, 16), np.full(16, 40.0), np.full(16, 40.0)], axis=1)
    trembling = way + rng.normal(0, 2, way.shape)
    smooth = smooth_boxes(trembling)

    def tremble(boxes: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(boxes, n=2, axis=0)).mean(axis=0)

    assert (tremble(smooth) < 0.4 * tremble(trembling)).all()
    inner = slice(3, -3)
    assert np.abs(smooth[inner] - way[inner])[:, :2].max() < 4
    assert smooth.shape == way.shape


def test_smoothing_of_nothing_and_of_one() -> None:
    one = np.array([[1.0, 2, 3, 4]])
    assert np.array_equal(smooth_boxes(one), one)
    assert smooth_boxes(np.empty((0, 4))).shape == (0, 4)
    two = np.array([[0.0, 0, 10, 10], [10, 0, 10, 10]])
    assert 0 < smooth_boxes(two)[0, 0] < smooth_boxes(two)[1, 0] < 10


# Who may decide


def test_only_a_large_sharp_steady_face_may_decide() -> None:
    person = track_of([[100.0 + index, 50.0, 80.0, 80.0] for index in range(16)])
    assert find_flaw(person, 100.0, widest=80.0) == ""
    assert find_flaw(person, 100.0, widest=250.0) == "too small (80 pixels wide)"
    tiny = track_of([[100.0, 50.0, 30.0, 30.0]] * 16)
    assert find_flaw(tiny, 100.0, widest=30.0) == "too small (30 pixels wide)"
    assert find_flaw(person, 10.0, widest=80.0) == "too blurred"
    seldom = track_of([[100.0, 50.0, 80.0, 80.0] if index % 3 == 0 else None for index in range(16)])
    assert find_flaw(seldom, 100.0, widest=80.0) == "found in too few frames"
    toys = track_of([[100.0 + 90 * (index // 4 % 2), 50.0, 80.0, 80.0] for index in range(16)])
    assert find_flaw(toys, 100.0, widest=80.0) == "not one face: it jumps"
    assert find_flaw(track_of([[100.0, 50.0, 80.0, 80.0]]), 100.0, widest=80.0) == ""


def test_frames_of_other_shots_do_not_count_against_a_face() -> None:
    half = track_of([[100.0, 50.0, 80.0, 80.0] if index < 6 else None for index in range(16)])
    assert find_flaw(half, 100.0, widest=80.0) == "found in too few frames"
    assert find_flaw(replace(half, in_shot=np.arange(16) < 6), 100.0, widest=80.0) == ""


def test_sharpness_does_not_depend_on_the_size_of_the_crops() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    sizes = [measure_sharpness([cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)]) for size in (96, 192)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.25)
    assert measure_sharpness([cv2.GaussianBlur(cv2.resize(noise, (96, 96)), (0, 0), 6)]) < sizes[0] / 10
