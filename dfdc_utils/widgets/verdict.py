"""Score videos of one's own: picked in a folder, by a path, or uploaded."""

import tempfile
from pathlib import Path

import ipywidgets as ui

from dfdc_utils.plots import describe, list_verdicts, note
from dfdc_utils.prediction import Detector, Prediction
from dfdc_utils.videos import list_videos
from dfdc_utils.widgets.twin import HasTwin, one_at_a_time

SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm")


class VideoJudge(HasTwin, ui.VBox):  # type: ignore[misc]
    """Pick a video in a folder, type a path, or upload a file, and read what `detector` says about it.

    A folder gives a table of verdicts. `path`, a video or a folder, is scored first, if given. The last result is
    `prediction`, or `predictions` of a folder. An uploaded file is deleted once it is scored. Taught in notebook 06.
    """

    def __init__(self, detector: Detector, path: str | Path | None = None) -> None:
        self._detector = detector
        self.prediction: Prediction | None = None
        self.predictions: list[Prediction] = []
        wide = ui.Layout(width="60%")
        self._path = ui.Text(placeholder="path of a video or a folder", description="Video", layout=wide)
        self._score = ui.Button(description="Score it", button_style="primary", tooltip="Score the video at this path")
        self._pick = ui.Dropdown(description="or pick", layout=wide)
        files = ",".join(["video/*", *SUFFIXES])
        self._upload = ui.FileUpload(accept=files, description="or upload one", layout=ui.Layout(width="auto"))
        self._whole = ui.Checkbox(value=False, description="the whole video, not only its first seconds", indent=False)
        self._step = ui.HTML()
        self._answer = ui.HTML(layout=ui.Layout(min_height="300px"))  # else the page jumps when it goes
        self._score.on_click(lambda _: self._judge(self._path.value))
        self._path.on_msg(lambda _, sent, __: self._judge(self._path.value) if sent.get("event") == "submit" else None)
        self._pick.observe(lambda change: self._judge(change["new"]) if change["new"] else None, names="value")
        self._upload.observe(self._take, names="value")
        rows = [ui.HBox([self._path, self._score]), self._pick, ui.HBox([self._upload, self._whole])]
        super().__init__([*rows, self._step, self._answer])
        self.add_class("dfdc-judge")  # by which a verdict finds the upload button: see player.js
        self._judge(str(path)) if path else self._list(Path())

    def as_html(self) -> str:
        """The last answer, without the controls."""
        return str(self._answer.value)

    @one_at_a_time
    def _take(self, _change: object) -> None:
        for upload in self._upload.value:  # one, or none
            self._upload.value = ()  # so that the same file can be picked again
            with tempfile.TemporaryDirectory() as folder:
                # The name alone: what a browser sends may hold folders.
                file = Path(folder) / (Path(upload["name"].replace("\\", "/")).name or "upload")
                file.write_bytes(upload["content"])
                self._judge(str(file), is_upload=True)

    @one_at_a_time
    def _judge(self, named: str, *, is_upload: bool = False) -> None:
        self._answer.value, self.prediction, self.predictions, self._score.disabled = "", None, [], True
        self._path.value = "" if is_upload else named
        try:
            path = Path(named if Path(named).exists() else named.strip(" '\"")).expanduser()
            if not named.strip() or "://" in named:
                raise ValueError("Enter the path of a video on this machine, or pick or upload one.")
            if not is_upload:
                self._list(path if path.is_dir() else path.parent)
            self._answer.value = self._describe_folder(path) if path.is_dir() else self._describe_video(path)
        except (OSError, ValueError) as error:
            self._answer.value = note(str(error))
        finally:
            self._step.value = ""
            self._score.disabled = False

    def _describe_video(self, path: Path) -> str:
        self._step.value = note(f"1 of 3: finding the faces in {path.name}")
        self.prediction = self._detector.predict(path, whole=self._whole.value)
        self._step.value = note(f"2 of 3: {self.prediction.headline}; explaining the score")
        evidence = self._detector.gather_evidence([self.prediction])
        self._step.value = note("3 of 3: drawing")
        return describe(self.prediction, evidence.get(self.prediction.path))

    def _describe_folder(self, folder: Path) -> str:
        videos = list_videos(folder)
        for one in self._detector.predict_many(videos, whole=self._whole.value, show_progress=False):
            self.predictions.append(one)
            self._step.value = note(f"{len(self.predictions)} of {len(videos)}: {one.path.name}: {one.headline}")
        return list_verdicts(self.predictions)

    def _list(self, folder: Path) -> None:
        videos = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        names = [(path.name, str(path)) for path in videos]
        self._pick.options = [(f"{len(videos)} videos in {folder.absolute()}, without its subfolders", ""), *names]
        self._pick.index = 0  # so that the same video can be picked again
