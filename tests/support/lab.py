"""A real JupyterLab, and notebooks opened in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat

# Notebooks are drawn whole, and nothing asks the network for news.
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
_CURRENT = "window.jupyterapp.shell.currentWidget"
_READY = f"""() => {{
  const shown = window.jupyterapp && {_CURRENT};
  return shown?.context?.isReady && shown.sessionContext?.session?.kernel?.status === 'idle';
}}"""
_ERRORS = f"""() => {_CURRENT}.content.widgets
  .flatMap((cell) => cell.model.outputs?.toJSON() ?? [])
  .filter((output) => output.output_type === 'error')
  .map((output) => output.ename + ': ' + output.evalue)"""
_ASK = f"""async (code) => {{
  const kernel = {_CURRENT}.sessionContext.session.kernel;
  const options = {{ code: '', store_history: false, user_expressions: {{ it: code }} }};
  const reply = await kernel.requestExecute(options).done;
  const it = reply.content.user_expressions.it;
  return it.status === 'ok' ? it.data['text/plain'] : 'ERROR ' + it.evalue;
}}"""

_THEMED = """(light) => {
  const ground = getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim();
  const named = document.body.dataset.jpThemeLight === String(light);
  // The curtain of one change goes some time after it; JupyterLab fails where the next finds it.
  const gone = !document.getElementById('jupyterlab-splash');
  return gone && named && light === ['white', '#fff', '#ffffff'].includes(ground);
}"""


class Lab:
    """A server of its own: its home, settings and kernels are nobody else's."""

    def __init__(self, folder: Path) -> None:
        self.notebooks, self.folder = folder / "notebooks", folder
        self.notebooks.mkdir()
        (folder / "settings").mkdir()
        (folder / "settings" / "overrides.json").write_text(json.dumps(_SETTINGS))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if "JUPYTER" not in name}
        homes = {
            f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")
        }
        cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                    *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}"),
                    *("--ServerApp.port_retries=0", "--IdentityProvider.token="),
                    *("--ServerApp.password=", "--ServerApp.disable_check_xsrf=True"),
                    "--LabApp.expose_app_in_browser=True",
                    "--JupyterNotebookApp.expose_app_in_browser=True",
                    f"--ServerApp.root_dir={self.notebooks}",
                    f"--LabApp.app_settings_dir={folder / 'settings'}",
                    f"--LabApp.workspaces_dir={folder / 'workspaces'}",
                ],
                env={**kept, **homes, "HOME": str(folder), "XDG_CACHE_HOME": cache},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(1200):
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            try:
                urllib.request.urlopen(f"{self.url}/api/status", timeout=2)
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("JupyterLab did not start in two minutes")

    def stop(self) -> None:
        """Ends it, and its kernels."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def write(self, name: str, *cells: str) -> None:
        """Writes a notebook."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, self.notebooks / f"{name}.ipynb")


class Notebook:
    """A notebook in a page; any error of the page's own is kept in ``complaints``."""

    def __init__(self, page: Any, lab: Lab, name: str, *, classic: bool = False) -> None:
        self.page, self.complaints = page, list[str]()
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("console", self._heard)
        where = "notebooks" if classic else "lab/tree"
        page.goto(f"{lab.url}/{where}/{name}.ipynb{'' if classic else '?reset'}")
        page.wait_for_function(_READY, timeout=120_000)
        self.complaints.clear()  # of what starts without its settings, which is not ours

    def _heard(self, message: Any) -> None:
        # JupyterLab itself complains of files that a fresh home does not have.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def run(self) -> None:
        """Runs all cells."""
        self.page.evaluate(
            "() => window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => 1)"
        )
        errors = self.page.evaluate(_ERRORS)
        assert not errors, errors

    def ask(self, code: str) -> str:
        """What an expression is in the kernel."""
        return str(self.page.evaluate(_ASK, code))

    def until(self, code: str, wanted: str, seconds: float = 60) -> None:
        """Waits until an expression in the kernel is what is wanted."""
        end = time.monotonic() + seconds
        while (value := self.ask(code)) != wanted:
            if time.monotonic() > end:
                raise AssertionError(f"{code} is {value}, not {wanted}")
            time.sleep(0.1)

    def theme(self, name: str) -> None:
        """``"JupyterLab Light"`` or ``"JupyterLab Dark"``."""
        change = "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
        self.page.evaluate(change, name)
        # Its sheet, too: JupyterLab fails where the next change comes before that is there.
        self.page.wait_for_function(_THEMED, arg="Light" in name)
