r"""Executes the tutorials, keeps their outputs, and holds their texts against these.

python tutorials/execute.py              # all of them
python tutorials/execute.py 1 4          # the first and the fourth
python tutorials/execute.py --check 2    # the second, and its file stays as it is
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests" / "support"))

from quoted_numbers import unsupported  # noqa: E402

LONGEST = 300  # seconds a tutorial may take on two cores
_VIEW = "application/vnd.jupyter.widget-view+json"


def main() -> int:
    """Reads the command line, executes, and returns how many tutorials are wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("numbers", nargs="*", help="of the tutorials (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    numbers = given.numbers
    paths = sorted(HERE.glob("[0-9]*.ipynb"))
    chosen = [path for path in paths if not numbers or path.name.split("_")[0] in numbers]
    if not chosen:
        parser.error(f"numbers: got {numbers}, accepts {[path.name for path in paths]}")
    return sum(executed(path, write=not given.check) for path in chosen)


def executed(path: Path, *, write: bool) -> bool:
    """Executes one tutorial, and prints how long it took and what its text has wrong.

    A tutorial whose code fails is left as it is.
    """
    notebook = nbformat.read(path, as_version=4)
    start = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=LONGEST,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        store_widget_state=False,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        print(f"{path.name}: {error}", flush=True)
        return True
    seconds = time.monotonic() - start
    for cell in notebook.cells:
        _settle(cell)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(notebook)
    if write:
        nbformat.write(notebook, path)
    problems = unsupported(notebook.cells)
    if seconds > LONGEST:
        problems.append(f"it took {seconds:.0f} s, more than {LONGEST}")
    print(f"{path.name}: {seconds:.0f} s, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    for problem in problems:
        print(f"  {problem}", flush=True)
    return bool(problems)


def _settle(cell: Any) -> None:
    """Leaves out what changes from run to run, and what nobody can see without a kernel."""
    cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
    if cell.cell_type != "code":
        return
    # Progress bars, and what libraries say of this machine.
    cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr" and not _bar(one)]
    for output in cell.outputs:
        # A widget without its kernel is empty; its static view stands in its place.
        output.get("data", {}).pop(_VIEW, None)


def _bar(output: Any) -> bool:
    data = output.get("data", {})
    return _VIEW in data and "text/html" not in data


if __name__ == "__main__":
    sys.exit(main())
