"""`card.md` of a pretrained model: what it was made of, how well it tells self-blends, and where it must fail."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from dfdc_utils.faces.storage import write_atomically
from dfdc_utils.models.calibration import Calibration
from dfdc_utils.models.card import NOT_EVIDENCE, as_table, describe_calibration
from dfdc_utils.models.ood import UNFAMILIAR
from dfdc_utils.pretraining.filming import CRFS
from dfdc_utils.pretraining.pairs import DONORS

NOT_FOR = (
    NOT_EVIDENCE,
    "Whole-image synthesis, a voice that was changed, or any forgery that blends nothing into a real picture.",
    "Faces of fewer than some 50 pixels, turned far away, or covered.",
    "Heavily compressed video: see the figures by quality; little of a blend survives there.",
    "Filters, make-up effects and edited skin: they change a face and leave the rest, as a swap does, and may be "
    "called fake.",
)


def write_card(folder: Path) -> Path:
    """Write `card.md` from what `pretrain` left in `folder`, and return its path."""
    note = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    figures, history, outliers = (pd.read_csv(folder / f"{name}.csv") for name in ("figures", "history", "outliers"))
    encoder, people = note["encoder"], note["people"]
    over_all = figures[figures["shipped"] & (figures["quality"] == "all")].set_index("fakes")
    blends, swaps = (
        f"AUC {row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        for row in (over_all.loc["self-blends"], over_all.loc["swaps"])
    )
    sections = [
        "# Model card",
        f"A {note['model']} that scores a video's face sequence from 0 (real) to 1 (fake), trained on "
        f"**{note['data']}**. It has never seen a deepfake: its fakes are real faces blended with changed copies of "
        "themselves (Shiohara and Yamasaki, CVPR 2022) or with the face of someone else (as Li et al., CVPR 2020).",
        "## Data and split",
        f"{note['photographs']} photographs, {note['without_a_face']} of them left out since no large enough face was "
        f"found; {people['train']} people to train on, {people['validation']} others for every figure below.",
        note["notes"].strip(),
        "## Recipe",
        f"MobileNetV2 (weights at the start: {encoder['weights']}) as far as `block_12_add`, BatchNormalization "
        f"frozen, at {encoder['face_size']} px, each frame seen as it is and mirrored; {encoder['steps']} steps of "
        f"{encoder['people']} real faces and as many fakes of theirs, Adam from {encoder['learning_rate']:g} along a "
        f"cosine to 0, {encoder['cycles']} times, each from half of the last. Fakes are self-blends; after the first "
        f"cycle {100 * encoder['swaps']:.0f} % are swaps, by landmarks and with matched colours, with whoever of "
        f"{DONORS} people drawn by lot holds the head most alike. Real and fake pass through the "
        "same motion, light, sharpening, blur, noise, H.264 (constant rate factor "
        f"{CRFS[0]} to {CRFS[1]}) and JPEG. The heads over time saw the encoder's features of {note['head_people']} "
        f"people's pairs of {note['frame_count']} frames. Shipped is the mean over frames, "
        f"which knows nothing of how motion was simulated, unless the LSTM's AUC lies above its interval: "
        f"`{note['head']}`.",
        "## Figures on unseen people",
        f"Sequences of {note['frame_count']} frames after degradation: {blends} on self-blends, {swaps} on swaps. 95 % "
        "intervals, people drawn with replacement. **These are not figures on deepfakes**: both kinds of fakes are "
        "those of its training.",
        as_table(figures),
        "The encoder on single frames while it trained, validated on self-blends:",
        as_table(history),
        "## Calibration",
        describe_calibration(Calibration.load(folder / "calibration.json"))
        + " Both classes are equally frequent there; among videos that one meets, fakes are rare.",
        "## Has it seen anything like it?",
        "`familiarity.npz` knows two distances of a video from training's sequences, by what the middle layers saw of "
        "them: Mahalanobis', and along the direction that tells them from outliers best, which are no photographs of "
        f"faces. The larger is given as a percentile of validation's; from {UNFAMILIAR:.0f} on, the score is a guess. "
        f"So are told, besides {100 - UNFAMILIAR:.0f} % of validation's own, of outliers made of the same people or of "
        "drawn ones who were not used to fit it:",
        as_table(outliers),
        "`told_if_unknown` is the share where that kind was left out of fitting: how far to trust it on a kind of "
        "picture that nobody thought of.",
        "## Not for",
        "\n".join(f"- {text}" for text in NOT_FOR),
    ]
    write_atomically(folder / "card.md", "\n\n".join(section for section in sections if section) + "\n")
    return folder / "card.md"
