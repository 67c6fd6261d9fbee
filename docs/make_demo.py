"""Make the moving picture at the top of the README: the page of a verdict, played in Chromium.

python docs/make_demo.py    # from the repository's folder, after `make run`; needs chromium
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

from dfdc_utils import Detector, plots

TARGET = Path("docs/verdict.webp")
FRAMES, PER_SECOND = 30, 10
MOST_BYTES = 2_000_000


def choose_fake() -> Path:
    """The fake of the sample's test split that the model is most certain of."""
    scores = pd.read_csv("data/sample/results/scores.csv")
    video = scores[scores["label"] == "FAKE"].sort_values("score").iloc[-1]["video"]
    return next(Path("data/sample").glob(f"dfdc_train_part_*/{video}.mp4"))


def film(page_file: Path) -> list[Image.Image]:
    """Pictures of the page while its video plays."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 960, "height": 640}, color_scheme="light")
        page.goto(page_file.as_uri())
        seek = """async time => { const video = document.querySelector('video');
            document.querySelector('.player').classList.add('moved');
            const done = new Promise(resolve => video.addEventListener('seeked', resolve, {once: true}));
            video.currentTime = time; await done; }"""
        length = page.evaluate("document.querySelector('video').duration")
        pictures = []
        for number in range(FRAMES):  # sought and not played, so that a slow machine makes the same picture
            page.evaluate(seek, (number + 0.5) * length / FRAMES)
            page.wait_for_timeout(50)
            pictures.append(Image.open(io.BytesIO(page.screenshot())))
        browser.close()
    return pictures


def main() -> None:
    """Write the picture, and say how large it is."""
    detector = Detector.load("data/sample/model")
    prediction = detector.predict(choose_fake(), whole=True)
    with tempfile.TemporaryDirectory() as folder:
        page = plots.write_page(Path(folder) / "page.html", [prediction], detector.gather_evidence([prediction]))
        first, *others = film(page)
    settings = {"append_images": others, "duration": 1000 // PER_SECOND, "loop": 0, "quality": 60, "method": 4}
    first.save(TARGET, save_all=True, **settings)
    assert TARGET.stat().st_size < MOST_BYTES
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
