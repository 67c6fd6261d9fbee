from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from dfdc_utils.faces import YuNetDetector, read_faces
from dfdc_utils.faces.tracks import crop_face, smooth_boxes
from dfdc_utils.models import ModelFolder, build_cnn_lstm, build_frame_encoder, build_on_encoder, load_model, take_apart
from dfdc_utils.models.cnn_lstm import HEADS
from dfdc_utils.prediction.explain import explain_score, weigh_evidence
from dfdc_utils.pretraining.filming import Encoding, film_together, move_still
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures
from dfdc_utils.processing import read_manifest
from dfdc_utils.sequences import load_sequence, self_blend

FRAME_COUNT, FACE_SIZE, FRAME_RATE = 16, 96, 30  # of the sample


class Sample:
    """The test split of the model that was trained on the sample, and what the sample knows of its fakes."""

    def __init__(self, sample: Path, faces: Path, model: Path) -> None:
        self.faces, self.model = faces, load_model(model)
        self.truth = json.loads((sample / "truth.json").read_text())
        self.frames = read_manifest(faces).set_index("video")
        split = pd.read_csv(model / "split.csv", dtype=str)
        self.test = split[split["split"] == "test"]

    def videos(self, kind: str) -> list[str]:
        return [video for video in self.test["video"] if self.truth[f"{video}.mp4"]["kind"] == kind]

    def load(self, video: str) -> np.ndarray:
        return load_sequence(self.faces, video, FRAME_COUNT)

    def blended(self, video: str) -> np.ndarray:
        """Where a fake was blended in, bool (T, H, W): its ellipses, drawn into full frames, cropped as faces are."""
        frames = read_faces(self.faces, video)["tracks"][0]["frames"]
        boxes = smooth_boxes(np.array([frame["box"] for frame in frames]))
        masks = []
        for index in np.linspace(0, len(frames) - 1, FRAME_COUNT).round().astype(int):
            picture = np.zeros((*self.frames.loc[video, ["height", "width"]].astype(int), 3), np.uint8)
            number = round(frames[index]["time"] * FRAME_RATE)
            x, y, across, down, angle = self.truth[f"{video}.mp4"]["masks"][number]
            cv2.ellipse(picture, (x, y), (across, down), angle, 0, 360, (255, 255, 255), cv2.FILLED)
            masks.append(crop_face(picture, boxes[index], FACE_SIZE)[..., 0] > 127)
        return np.stack(masks)


@pytest.fixture(scope="module")
def known(sample: Path, sample_faces: Path, sample_model: Path) -> Sample:
    return Sample(sample, sample_faces, sample_model)


def share_inside(heat: np.ndarray, place: np.ndarray) -> float:
    return float(heat[place].sum() / heat.sum())


def grad_cam(model: keras.Model, sequence: np.ndarray) -> np.ndarray:
    """The textbook's, on the last maps."""
    tapped = keras.Model(model.input, [model.get_layer("conv_3").output, model.output])
    with tf.GradientTape() as tape:
        frames = tf.Variable(sequence[None].astype("float32"))
        maps, score = tapped(frames)
        logit = tf.math.log(score / (1 - score))
    weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True))
    return tf.image.resize(heat, sequence.shape[1:3])[..., 0].numpy()


@pytest.mark.slow
def test_heat_lies_where_the_fake_was_blended_in(known: Sample) -> None:
    """The fraction of the heat, mean over the fakes with both faults in the test split; beside it what knows less."""
    keras.utils.set_random_seed(0)
    ways = {"ours": known.model, "untrained": build_cnn_lstm(FRAME_COUNT, FACE_SIZE)}
    shares: dict[str, list[float]] = {name: [] for name in [*ways, "last maps", "everywhere"]}
    for video in known.videos("both"):
        sequence, place = known.load(video), known.blended(video)
        for name, model in ways.items():
            shares[name].append(share_inside(explain_score(model, sequence).heat, place))
        shares["last maps"].append(share_inside(grad_cam(known.model, sequence), place))
        shares["everywhere"].append(float(place.mean()))
    mean = {name: float(np.mean(values)) for name, values in shares.items()}
    print({name: round(value, 2) for name, value in mean.items()})
    assert len(shares["ours"]) >= 5
    assert mean["ours"] >= 0.70
    assert mean["everywhere"] < 0.35 and mean["untrained"] < 0.55 and mean["last maps"] < mean["ours"] - 0.15


@pytest.mark.slow
def test_what_the_model_takes_for_real_stays_dark(known: Sample) -> None:
    light: dict[str, list[float]] = {"real": [], "both": []}
    for kind, means in light.items():
        for video in known.videos(kind)[:6]:
            heat = explain_score(known.model, known.load(video)).heat
            means.append(float(heat.mean()))
            score = float(known.model(known.load(video)[None], training=False)[0, 0])
            assert heat.max() == pytest.approx(score, abs=1e-5)
    assert np.mean(light["real"]) < np.mean(light["both"]) / 3


def test_evidence_of_a_trained_model_adds_up_to_its_logit(known: Sample) -> None:
    """But for what the model says of nothing, which is the same for all."""
    weighed = [weigh_evidence(known.model, known.load(video)) for video in known.test["video"][:8]]
    of_nothing = np.array([logit - evidence.sum() for logit, evidence in weighed])
    assert np.ptp([logit for logit, _ in weighed]) > 3
    assert np.ptp(of_nothing) < 0.05


def test_contributions_point_at_the_one_frame_of_a_fake(known: Sample) -> None:
    """A real video with one frame of its own fake: this frame, or the next, which changes back, adds most."""
    pairs = known.test[(known.test["label"] == "FAKE") & known.test["original"].isin(known.test["video"])]
    found = []
    for number, (real, fake) in enumerate(zip(pairs["original"], pairs["video"], strict=True)):
        index = 3 + number % 10
        sequence = known.load(real).copy()
        sequence[index] = known.load(fake)[index]
        found.append(int(explain_score(known.model, sequence).contributions.argmax()) in (index, index + 1))
    assert len(found) >= 12
    assert np.mean(found) >= 0.5  # by chance 0.12


@pytest.fixture
def lamp() -> keras.Model:
    """A model whose answer is known: a frame's logit is 8 · tanh(0.3 · mean of its one map) − 1; black maps to 0."""
    model = build_cnn_lstm(4, 32, head="mean", filters=(1,))
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    model.get_layer("conv_0").kernel.assign(np.full((3, 3, 3, 1), 1 / 27))
    for name, value in (("features", 1), ("seen", 1), ("frame_logits", 8)):
        kernel = np.zeros(model.get_layer(name).kernel.shape)
        kernel[0, 0] = value
        model.get_layer(name).kernel.assign(kernel)
    model.get_layer("frame_logits").bias.assign([-1])
    return model


def test_heat_and_contributions_where_the_answer_is_known(lamp: keras.Model) -> None:
    sequence = np.zeros((4, 32, 32, 3), np.uint8)
    sequence[2, 8:16, 16:24] = 255
    logit, evidence = weigh_evidence(lamp, sequence)
    explained = explain_score(lamp, sequence)
    heat = explained.heat
    assert heat.shape == (4, 32, 32) and heat.dtype == np.float32
    assert heat[2, 10:14, 18:22].min() > 0.5 * heat.max()
    heat[2, 5:19, 13:27] = 0  # a cell is two pixels wide, and shades into the next
    assert not heat.any()
    assert evidence.sum() == pytest.approx(logit + 1, abs=1e-4)
    np.testing.assert_allclose(explained.contributions, [0, 0, logit + 1, 0], atol=1e-4)


def test_nothing_to_see_is_no_heat(lamp: keras.Model) -> None:
    black = np.zeros((4, 32, 32, 3), np.uint8)
    explained = explain_score(lamp, black)
    assert not explained.heat.any() and not explained.contributions.any()
    lamp.get_layer("frame_logits").kernel.assign(-lamp.get_layer("frame_logits").kernel)  # light now speaks for REAL
    assert not explain_score(lamp, black + np.uint8(255)).heat.any()


def test_a_change_lies_on_the_frame_and_the_place_that_changed() -> None:
    keras.utils.set_random_seed(0)
    model = build_cnn_lstm(5, 32, filters=(4, 8))
    kernel, *others = model.get_layer("lstm").get_weights()
    kernel[: len(kernel) // 2] = 0  # blind to the features themselves: only their change is left
    model.get_layer("lstm").set_weights([kernel, *others])
    sequence = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8), 5, axis=0)
    sequence[3:, 4:12, 4:12] = 0
    _, evidence = weigh_evidence(model, sequence)
    peak = np.abs(evidence).max()
    assert peak > 0
    there = np.abs(evidence) > 1e-5 * peak
    assert there[3, 4:12, 4:12].mean() > 0.9
    there[3, :22, :22] = False
    assert not there.any()


FULL, HALF = "float32", "mixed_bfloat16"
MODELS = [
    *(pytest.param({"head": head}, (4, 32), FULL, id=head) for head in HEADS),
    pytest.param({}, (4, 32), HALF, id="mixed"),
    pytest.param({"backbone": "MobileNetV2", "head": "mean"}, (2, 64), HALF, id="MobileNetV2-mean-mixed"),
    pytest.param({}, (5, 50), FULL, id="odd size"),
    pytest.param({}, (1, 32), FULL, id="one frame"),
]


@pytest.mark.parametrize(("options", "shape", "policy"), MODELS)
@pytest.mark.slow
def test_every_kind_of_model_is_explained(
    options: dict[str, Any], shape: tuple[int, int], policy: str, tmp_path: Path
) -> None:
    """Loaded from its file; the evidence adds up to the logit, less that of the same model gone blind."""
    frame_count, face_size = shape
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(1)
        build_cnn_lstm(frame_count, face_size, **options).save(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy(FULL)
    model = load_model(tmp_path)
    kernels = [layer.kernel for layer in model.layers if layer.name in ("features", "moving_features")]
    if "backbone" in options:  # untrained, its maps are all but empty
        kernels[0].assign(kernels[0] * 1e3)
    sequence = np.random.default_rng(0).integers(0, 256, (frame_count, face_size, face_size, 3)).astype(np.uint8)
    precision = 1e-3 if policy == FULL else 0.05
    score = float(model(sequence[None], training=False)[0, 0])
    explained = explain_score(model, sequence)
    heat, contributions = explained.heat, explained.contributions
    assert heat.shape == sequence.shape[:3] and heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max() == pytest.approx(score, abs=precision)
    assert contributions.shape == (frame_count,) and np.isfinite(contributions).all()
    logit, evidence = weigh_evidence(model, sequence)
    for kernel in kernels:
        kernel.assign(kernel * 0)
    of_nothing, nothing = weigh_evidence(model, sequence)
    assert not nothing.any()
    assert evidence.any() and evidence.sum() == pytest.approx(logit - of_nothing, abs=precision, rel=0.1)
    assert contributions.sum() == pytest.approx(evidence.sum(), rel=1e-4, abs=1e-5)


def test_the_pretrained_kind_is_explained_too() -> None:
    """Contributions add up, within what summing over 64 steps leaves; heat is what the places say."""
    keras.utils.set_random_seed(1)
    encoder = build_frame_encoder(64, weights=None, feature_count=8)
    traces = encoder.get_layer("traces")
    traces.kernel.assign(traces.kernel * 1e3)  # untrained, the maps before it are all but empty
    frame_logit = encoder.get_layer("frame_logit")
    frame_logit.kernel.assign(np.abs(frame_logit.kernel) / 10)  # all that the maps show speaks for FAKE
    places = encoder.get_layer("place_logits")
    places.kernel.assign(np.abs(places.kernel))
    model = build_on_encoder(encoder, 3)
    sequence = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    explained = explain_score(model, sequence)
    heat, contributions = explained.heat, explained.contributions
    score = float(model(sequence[None], training=False)[0, 0])
    assert heat.shape == (3, 64, 64) and heat.min() >= 0 and heat.max() == pytest.approx(score, abs=1e-3)
    assert contributions.shape == (3,) and contributions.any()
    logit, evidence = weigh_evidence(model, sequence)
    cells = np.asarray(take_apart(model)[0](sequence.astype(np.float32))[1])[..., 0]  # seen both ways
    strongest = np.unravel_index(cells.argmax(), cells.shape)
    assert explained.heat[strongest[0]].max() == heat.max()
    of_nothing = float(frame_logit.bias[0])
    assert evidence.any() and evidence.sum() == pytest.approx(logit - of_nothing, abs=1e-2, rel=0.05)
    take_apart(model)[0].get_layer("place_logits").bias.assign([-1e3])  # no place is above 0: what raised the score
    explained, (logit, evidence) = explain_score(model, sequence), weigh_evidence(model, sequence)
    np.testing.assert_allclose(explained.heat / explained.heat.max(), np.maximum(evidence, 0) / evidence.max())


@pytest.mark.slow
def test_the_pretrained_model_shows_where_a_blend_lies(
    face_photographs: Path, yunet_path: Path, tmp_path: Path
) -> None:
    """On self-blends of people whom it has not seen, and more than the Grad-CAM does (docs/pretraining.md)."""
    index = pd.read_csv(face_photographs / "index.csv", dtype=str)
    others = sorted(set(index["identity"]) - set(index["identity"][index["set"].isin(["lfw", "voteview"])]))
    held_out = np.random.default_rng(0).permutation(others)[: round(0.1 * len(others))]
    people = find_photographs(face_photographs)
    unseen = people[people["file"].str.startswith("scut") & people["identity"].isin(held_out)].head(32)
    if unseen.empty:
        pytest.skip("no folder scut, with people whom the pretrained model has not seen")
    detector = YuNetDetector(yunet_path)
    pictures = prepare_pictures(unseen, face_photographs, tmp_path, detector, show_progress=False)
    folder, generator = ModelFolder.open("pretrained"), np.random.default_rng(0)
    count, size = folder.sequence.frame_count, folder.sequence.face_size
    source = PairSource(tmp_path, pictures, face_size=size, seed=0)
    shares: dict[str, list[float]] = {"places": [], "Grad-CAM": [], "everywhere": []}
    for number in range(len(source)):
        encoding = Encoding.sample(generator)
        clip, points = move_still(*source.still(number), count, encoding.size, generator)
        blend = self_blend(clip, points, generator)
        fake = film_together(blend.fake[None, None], encoding, size, generator)[0, 0]
        place = np.stack([cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA) for mask in blend.mask]) > 0.05
        if len(shares["places"]) < 10 and folder.model(fake[None])[0, 0] > 0.5:  # those that it finds
            shares["places"].append(share_inside(explain_score(folder.model, fake).heat, place))
            _, evidence = weigh_evidence(folder.model, fake)
            shares["Grad-CAM"].append(share_inside(np.maximum(evidence, 0), place))
            shares["everywhere"].append(float(place.mean()))
    inside = {name: float(np.mean(values)) for name, values in shares.items()}
    print(len(shares["places"]), inside)
    assert len(shares["places"]) == 10
    assert inside["places"] >= 0.8 and inside["places"] > inside["Grad-CAM"] > inside["everywhere"]


@pytest.mark.parametrize("function", [explain_score, weigh_evidence])
def test_what_does_not_fit_is_said(function: Any) -> None:
    model = build_cnn_lstm(4, 32)
    for wrong in (np.zeros((5, 32, 32, 3), np.uint8), np.zeros((4, 32, 32, 3)), np.zeros((4, 32, 32), np.uint8)):
        with pytest.raises(ValueError, match=r"takes uint8 \(4, 32, 32, 3\): prepare it with the model's own"):
            function(model, wrong)
    frames = keras.Input((4, 32, 32, 3))
    foreign = keras.Model(frames, keras.layers.Dense(1, name="score")(keras.layers.Flatten()(frames)), name="foreign")
    with pytest.raises(ValueError, match="foreign has no layer 'features' and no maps that it averages"):
        function(foreign, np.zeros((4, 32, 32, 3), np.uint8))
