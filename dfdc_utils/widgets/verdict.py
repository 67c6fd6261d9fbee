"""Score a video of one's own: by its path, or by an upload."""

import tempfile
from pathlib import Path
from typing import Any

import ipywidgets as ui

from dfdc_utils.plots import describe, note
from dfdc_utils.prediction import Detector, Prediction
from dfdc_utils.widgets.twin import HasTwin


class VideoJudge(HasTwin, ui.VBox):  # type: ignore[misc]
    """Pick a video, by its path or by an upload, and read what `detector` says about it.

    `path` is scored first, if given. The last result is `prediction`. An uploaded file is deleted once it is scored.
    Taught in notebook 06.
    """

    def __init__(self, detector: Detector, path: str | Path | None = None) -> None:
        self._detector = detector
        self.prediction: Prediction | None = None
        wide = ui.Layout(width="60%")
        self._path = ui.Text(value=str(path or ""), placeholder="path of a video", description="Video", layout=wide)
        self._score = ui.Button(description="Score it", button_style="primary", tooltip="Score the video at this path")
        files = "video/*,.mp4,.mov,.avi,.mkv,.webm"
        self._upload = ui.FileUpload(accept=files, description="or upload one", layout=ui.Layout(width="auto"))
        self._whole = ui.Checkbox(value=False, description="the whole video, not only its first seconds", indent=False)
        self._step = ui.HTML()
        self._answer = ui.HTML(layout=ui.Layout(max_height="720px", overflow="auto"))
        self._score.on_click(lambda _: self._judge(self._path.value))
        self._upload.observe(self._take, names="value")
        rows = [ui.HBox([self._path, self._score]), ui.HBox([self._upload, self._whole])]
        super().__init__([*rows, self._step, self._answer])
        if path:
            self._judge(str(path))

    def as_html(self) -> str:
        """The last answer, without the controls."""
        return str(self._answer.value)

    def _take(self, _change: object) -> None:
        if not self._upload.value:
            return
        upload: dict[str, Any] = self._upload.value[0]
        self._upload.value = ()  # so that the same file can be picked again
        with tempfile.TemporaryDirectory() as folder:
            # The name alone: what a browser sends may hold folders.
            file = Path(folder) / (Path(upload["name"].replace("\\", "/")).name or "upload")
            file.write_bytes(upload["content"])
            self._judge(str(file))

    def _judge(self, named: str) -> None:
        if not named.strip():
            self._answer.value = note("Enter the path of a video, or upload one.")
            return
        path = Path(named).expanduser()
        self._score.disabled = True
        self._answer.value = ""
        try:
            self._say(f"1 of 3: finding the faces in {path.name}")
            self.prediction = self._detector.predict(path, whole=self._whole.value)
            self._say(f"2 of 3: {self.prediction.headline}; explaining the score")
            evidence = self._detector.gather_evidence([self.prediction])
            self._say("3 of 3: drawing")
            self._answer.value = describe(self.prediction, evidence.get(self.prediction.path))
        except (OSError, ValueError) as error:
            self._answer.value = note(str(error))
        finally:
            self._say("")
            self._score.disabled = False

    def _say(self, step: str) -> None:
        self._step.value = note(step) if step else ""
