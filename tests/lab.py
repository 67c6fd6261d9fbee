"""JupyterLab in a headless Chromium, used as a reader would use it: open a notebook, run it, press its buttons."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import psutil
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH, HEIGHT = 1280, 900  # pixels of the window: a small laptop's, so that what does not fit shows

# Every request to anything but this machine fails, and with it the test: the notebooks need no network.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

# Seconds in which nothing runs though some cells have not: one has failed, and those after it were given up. (After an
# error that is allowed, JupyterLab shows `[ ]:` for those that still wait.)
STANDSTILL = 5

# The first two name other data; with the last, figures would be drawn for nobody.
SETTINGS_FROM_OUTSIDE = ("DFDC_DATA", "DFDC_YUNET", "MPLBACKEND")

SETTINGS = {
    # All cells are drawn at once: what is not on the screen can be found and pictured too.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # The theme follows the browser's wish for light or dark.
    "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True},
}

# The sign beside each code cell: `[ ]:` before it is run, `[*]:` while it waits or runs, then its number.
PROMPTS = "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"


@contextmanager
def serve(folder: Path, scratch: Path) -> Iterator[Callable[[str], str]]:
    """A JupyterLab for `folder`, its settings in `scratch`; yields a function from a file name to its address."""
    (scratch / "config" / "labconfig").mkdir(parents=True)
    (scratch / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS_FROM_OUTSIDE}
    environment |= {
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "JUPYTER_DATA_DIR": str(scratch / "data"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(scratch / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one that the user has installed
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_TOKEN": (token := secrets.token_hex()),  # who has it may run code here
    }
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "LabApp.extension_manager": "readonly",  # the other one asks PyPI
        "LabApp.news_url": "",
        "ServerApp.tornado_settings": '{"websocket_max_message_size": 1073741824}',  # as in `make lab`: large uploads
    }
    settings = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", *settings]
    address = f"http://127.0.0.1:{port}"
    log = scratch / "lab.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=environment) as server:
        try:
            _wait_until_up(server, address, log)
            yield lambda name: f"{address}/doc/tree/{name}?token={token}"
        finally:
            _stop(server)


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: Path, patience: float = 60) -> None:
    """Return once the server answers; on a busy machine it takes ten seconds."""
    started = time.monotonic()
    while server.poll() is None and time.monotonic() < started + patience:
        try:
            with urllib.request.urlopen(f"{address}/api", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")


def _stop(server: subprocess.Popen[bytes], patience: float = 20) -> None:
    """End the server, which ends its kernels; what is still there then is killed."""
    processes = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    try:
        server.wait(patience)
    except subprocess.TimeoutExpired:
        server.kill()
    for process in psutil.wait_procs(processes, timeout=5)[1]:
        process.kill()


@contextmanager
def start_browser() -> Iterator[Browser]:
    """A headless Chromium that reaches this machine only."""
    with sync_playwright() as playwright:
        # CI runs as root in a container, where Chromium's own sandbox cannot start.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", OFFLINE])
        try:
            yield browser
        finally:
            browser.close()


def listen(page: Page) -> list[str]:
    """A list that grows by each error of the page: written to the console, not caught, or a request that failed."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} ({message.location['url']})")

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


class Notebook:
    """One notebook, open in a window of its own; `complaints` is what `listen` hears there."""

    def __init__(self, browser: Browser, address: Callable[[str], str], path: Path) -> None:
        self.path = path
        self.page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        self.complaints = listen(self.page)
        self.page.goto(address(path.name))
        expect(self.page.locator(".jp-Cell")).to_have_count(len(self._saved()), timeout=30_000)

    def _saved(self) -> list[Any]:
        """The cells as they were last saved."""
        return list(nbformat.read(self.path, as_version=4).cells)

    def run_all(self, *, patience: float) -> None:
        """Run all cells and save; fail unless exactly the cells tagged `raises-exception` failed."""
        # Before its kernel is there, a notebook may ignore the menu without a word.
        kernel = self.page.locator(".jp-StatusBar-Left")
        expect(kernel).to_contain_text("Python 3 (ipykernel) | Idle", timeout=60_000)
        for item in ("Run", "Run All Cells"):
            self.page.get_by_role("menuitem", name=item, exact=True).click()
        started = stirred = time.monotonic()
        while {"[ ]:", "[*]:"} & set(prompts := self.page.evaluate(PROMPTS)):
            assert time.monotonic() < started + patience, f"{self.path.name} is not done: {prompts}"
            if "[*]:" in prompts or "Busy" in kernel.inner_text():
                stirred = time.monotonic()
            elif time.monotonic() > stirred + STANDSTILL:
                break
            self.page.wait_for_timeout(100)
        with self.page.expect_response(lambda response: response.request.method == "PUT"):
            self.page.keyboard.press("Control+s")
        for cell in self._saved():
            if cell.cell_type == "code":
                errors = [
                    f"{output.ename}: {output.evalue}" for output in cell.outputs if output.output_type == "error"
                ]
                expected = "raises-exception" in cell.metadata.get("tags", [])
                assert bool(errors) == expected, "\n".join([self.path.name, cell.source, *errors])
                assert cell.execution_count, f"{self.path.name} was given up before:\n{cell.source}"

    def cell(self, text: str) -> Locator:
        """The one code cell whose source holds this text."""
        return self.page.locator(".jp-CodeCell").filter(has=self.page.locator(".jp-InputArea", has_text=text))

    def run_cell(self, text: str) -> str:
        """Run one cell, by Shift and Enter; the text of its output."""
        prompt = self.cell(text).locator(".jp-InputPrompt")
        before = prompt.text_content() or ""
        self.cell(text).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).not_to_have_text("[*]:", timeout=30_000)
        return self.cell(text).locator(".jp-Cell-outputArea").inner_text()

    def widget(self, text: str) -> Locator:
        """The widget that the cell with this text shows."""
        shown = self.cell(text).locator(".jp-OutputArea-output .jupyter-widgets").first
        shown.scroll_into_view_if_needed()
        return shown

    def picture(self, path: Path) -> None:
        """The whole notebook, as `picture` does it, in a window so tall that nothing need be scrolled."""
        panel = self.page.locator(".jp-Notebook .jp-WindowedPanel-outer")
        tall = panel.evaluate("panel => panel.scrollHeight")
        self.page.set_viewport_size({"width": WIDTH, "height": tall + 150})  # and the bars around it
        panel.evaluate("panel => panel.scrollTo(0, 0)")
        picture(self.page.locator("#main"), path)
        self.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def switch_theme(page: Page, theme: str) -> None:
    """Show the page in a theme, "dark" or "light"."""
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    if "/doc/tree/" in page.url:
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(theme == "light").lower())
        # JupyterLab loads a theme behind a splash screen, which fades. It complains of the next one before that.
        expect(page.locator("#jupyterlab-splash")).to_have_count(0)


def picture(shown: Locator, path: Path) -> None:
    """What is shown in the dark theme and in the light one, as `<path>_dark.png` and `<path>_light.png`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for theme in ("dark", "light"):
        switch_theme(shown.page, theme)
        shown.screenshot(path=path.with_name(f"{path.name}_{theme}.png"))


def upload(button: Locator, path: Path) -> None:
    """Press an upload button and choose a file, as in the dialog that it opens."""
    with button.page.expect_file_chooser() as chooser:
        button.click()
    chooser.value.set_files(path)


def serious_faults(page: Page, within: str = "body") -> list[str]:
    """What axe-core finds serious or critical, light and dark; nothing unless DFDC_AXE names its axe.min.js.

    `within` is what it looks at in the page itself, besides frames in it.
    """
    found: list[str] = []
    axe = os.environ.get("DFDC_AXE")
    for theme in ("dark", "light") if axe else ():
        switch_theme(page, theme)
        for frame in page.frames:
            frame.add_script_tag(path=axe)
            place = within if frame is page.main_frame else "body"
            faults = frame.evaluate(f"axe.run({place!r}, {{iframes: false}})")["violations"]
            bad = [one for one in faults if one["impact"] in ("serious", "critical")]
            found += [f"{theme}: {one['id']}: {node['html'][:200]}" for one in bad for node in one["nodes"]]
    return found
