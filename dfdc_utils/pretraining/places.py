"""A stage of pretraining for a finished model: it learns where in a frame a blend lies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from dfdc_utils.faces import FaceDetector, load_face_detector
from dfdc_utils.files import prepare_target, replacing
from dfdc_utils.models import ModelFolder, build_on_encoder, copy_encoder, see_frames, write_card
from dfdc_utils.pretraining.mesh import FaceMesh
from dfdc_utils.pretraining.pairs import PairSource
from dfdc_utils.pretraining.photographs import find_photographs, prepare_pictures

PEOPLE = 16  # in a batch


def add_places(
    source: ModelFolder,
    location: str | Path,
    save_path: str | Path,
    *,
    face_detector: FaceDetector | None = None,
    mesh: FaceMesh | None = None,
    batches: int = 100,
    seed: int = 0,
    workers: int = 1,
    show_progress: bool = True,
) -> ModelFolder:
    """Teach a pretrained model where a blend lies, for `explain`, and write it to `save_path`; its scores stay.

    A logistic regression on the maps that the model's scores come from says of each place of 16 x 16 pixels whether
    most of it is blended. It is fitted on blends of photographs in `location`, of people of the training split only.
    Arguments are those of `pretrain`. Raises like it, and `ValueError` for a model whose scores use its places.
    """
    encoder = copy_encoder(source.model, source.sequence.face_size)
    if encoder.get_layer("frame_logit").kernel[-1] != 0:
        raise ValueError(f"{source.path}: it has learned places already, and its scores depend on them")
    folder = prepare_target(Path(save_path), what="the model")
    work = prepare_target(folder / "work", what="the cropped photographs")
    face_detector, config = face_detector or load_face_detector("yunet"), source.sequence
    table = find_photographs(location, seed=seed)
    pictures = prepare_pictures(table, location, work, face_detector, mesh=mesh, show_progress=show_progress)
    people = PairSource(work, pictures[pictures["split"] == "train"], face_size=config.face_size, seed=seed)
    see, seen, blended = see_frames(encoder), [], []
    made_ahead = people.batches(PEOPLE, 0, batches, swaps=0.5, parts=0.25, workers=workers)
    for reals, fakes, masks in tqdm(made_ahead, desc="places", total=batches, disable=not show_progress):
        for part, mask in ((reals, np.zeros_like(masks)), (fakes, masks)):
            seen.append(see.predict_on_batch(part)[0].reshape(mask.size, -1))
            blended.append(mask.ravel() > 0.5)
    fitted = LogisticRegression(max_iter=300).fit(np.concatenate(seen), np.concatenate(blended))
    encoder.get_layer("place_logits").set_weights([fitted.coef_.reshape(1, 1, -1, 1), fitted.intercept_])
    about = {"batches": batches, "people": PEOPLE, "face_mesh": mesh is not None, "seed": seed}
    made = replace(source, path=folder, note=source.note | {"places": about})
    names = ("history.csv", "metrics.csv", "outliers.csv", "deepfakes.csv")
    model = build_on_encoder(encoder, config.frame_count)
    with made.rewriting(source.path / name for name in names):
        with replacing(folder / "model.keras") as file:
            model.save(file)
        write_card(made)
    return made
