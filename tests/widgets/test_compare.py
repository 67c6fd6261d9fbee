"""What is stored of widgets and figures in a notebook: pictures under a handle, twins, alternative texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from faces_on_disk import flickering_faces
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from dfdc_utils import plots
from dfdc_utils.widgets import Compare, FaceBrowser, ThresholdExplorer, TrainingCurve

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ipywidgets' own, on creating any widget

BLACK, WHITE = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_two_pictures_lie_under_one_labelled_handle() -> None:
    tags = Tags(Compare(("REAL", BLACK), ("FAKE <1>", WHITE))._repr_html_())
    assert {image["alt"] for image in tags.named("img")} == {"REAL", "FAKE <1>"}
    (handle,) = tags.named("input")
    assert handle["type"] == "range" and "REAL" in str(handle["aria-label"]) and "FAKE <1>" in str(handle["aria-label"])
    assert not re.search(r"https?:", str(tags.found))


def test_several_layers_have_a_button_each_and_one_is_shown() -> None:
    tags = Tags(Compare(("REAL", BLACK), ("fake", WHITE), ("mask", WHITE), ("heat", BLACK))._repr_html_())
    buttons = [one for one in tags.named("input") if one["type"] == "radio"]
    assert len(buttons) == 3 and ["checked" in button for button in buttons] == [True, False, False]
    layers = [one for one in tags.named("div") if one.get("class") == "right"]
    assert [layer.get("style") for layer in layers] == [None, "display:none", "display:none"]


def test_a_stored_notebook_shows_the_page_of_the_browser(tmp_path: Path) -> None:
    table = flickering_faces(tmp_path, families=6)
    browser = FaceBrowser(table, tmp_path, page_size=2)
    bundle = browser._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    tags = Tags(bundle["text/html"])
    assert [str(image["alt"]).split(", ")[0] for image in tags.named("img")] == [
        f"8 faces of {label} {label.lower()}_0{number}" for number in (0, 1) for label in ("REAL", "FAKE")
    ]
    assert "page 1 of 3, 12 videos" in bundle["text/html"]


def test_a_stored_notebook_shows_the_counts_at_the_threshold(tmp_path: Path) -> None:
    scores = flickering_faces(tmp_path, families=2).assign(score=[0.1, 0.9, 0.6, 0.8])
    text = ThresholdExplorer(scores, threshold=0.7)._repr_mimebundle_()["text/html"]
    assert [image["alt"] for image in Tags(text).named("img")] == ["scores of all videos and the threshold"]
    assert "<svg" not in text, "viewers of stored notebooks remove it"
    assert "Threshold: 0.70" in text and "Recall: <strong>100 %</strong> (2 of 2" in text


def test_the_browser_says_how_many_are_picked(tmp_path: Path) -> None:
    browser = FaceBrowser(flickering_faces(tmp_path, families=2), tmp_path)
    for pair in browser._tiles[:2]:
        pair[0]._tick.value = True
    assert ", 2 picked" in browser._where.value
    browser._tiles[0][0]._tick.value = False
    assert ", 1 picked" in browser._where.value


@pytest.mark.parametrize(("share", "drawn"), [(1e9, 3), (1e-9, 1)])  # of the time that may go into drawing
def test_a_curve_grows_and_leaves_a_line(
    share: float, drawn: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dfdc_utils.widgets.curve.DRAWING", share)
    curve = TrainingCurve()
    curve.set_params({"epochs": 4})
    curve.on_train_begin()
    for epoch, loss in enumerate((0.7, 0.4, 0.5)):
        row = {"epoch": float(epoch + 1), "loss": loss, "accuracy": 0.5, "val_loss": loss, "val_accuracy": 0.5}
        curve.on_epoch_end(epoch, row)
    shown = curve._shown.value
    assert re.search(r"epoch 3 of at most 4; best: epoch 2, validation log loss 0\.400; at most \d+ s left", shown)
    assert shown.count("<img") == 1 and f'alt="epoch {drawn}' in shown  # a curve of 3 epochs, or still that of 1
    capsys.readouterr()
    curve.on_train_end()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("epoch 3 of at most 4; best: epoch 2, validation log loss 0.400; ")
    assert plt.get_fignums() == []


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


def test_figures_of_a_notebook_have_their_titles_as_alternative_text(shell: InteractiveShell) -> None:
    with matplotlib.rc_context():  # other tests draw without the theme
        plots.use_theme()
        plots.use_theme()  # a cell may be run twice
        figure = plots.show_frames([BLACK, WHITE], ["REAL", "FAKE:\nall white"], columns=2)
        data, metadata = shell.display_formatter.format(figure, include={"image/jpeg", "text/plain"})
        assert {"image/jpeg", "text/plain"} == set(data)
        assert metadata["image/jpeg"]["alt"] == "REAL; FAKE: all white"
        plt.close(figure)
