r"""Parts of a corpus on disk: each is written beside its place and moved there whole.

    folder/plan.json       the parts
    folder/texts/          the texts of each, JSON lines
    folder/job.json        what is made of them, and the fingerprint of the model that makes it
    folder/journal/        how far workers are, while they are at it
    folder/parts/000017/   what was made of part 17, and part.json: counts, problems, checksums
    folder/manifest.json   all parts, once they are there

A part that two workers make at once is moved by the first; the second finds it there, compares
checksums and drops its own. So work may be done again, and counts once.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import filelock

from ecco_captum.core.record_file import replacing
from ecco_captum.corpus.corpus import CorpusText, Problem

if TYPE_CHECKING:
    from ecco_captum.corpus.plan import Plan
    from ecco_captum.models.language_model import LanguageModel

PART, JOB, _MANIFEST = "part.json", "job.json", "manifest.json"
PARTIAL = ".partial"


@dataclass(frozen=True)
class Made:
    r"""What a job says of a part.

    Args:
        tokens (int): how many tokens were read.
        texts (int): of how many texts.
        problems (tuple of Problem): texts that were left out, and why.
    """

    tokens: int
    texts: int
    problems: tuple[Problem, ...] = ()


class Job(Protocol):
    """What an analysis does with a part of a corpus; it is sent to workers, without a model."""

    @property
    def description(self) -> dict[str, Any]:
        """What makes its files those of this job, for JSON."""

    def run(
        self, lm: LanguageModel, texts: Sequence[CorpusText], folder: Path, journal: Journal
    ) -> Made:
        """Writes files, the same bytes each time, into a new folder."""


class Journal:
    r"""What a worker is at with a part: for the progress bar, and for those who come after it dies.

    Args:
        path (Path): the file, which stays until the part is moved into place.
        advance (Callable, optional): told of tokens that are done.
    """

    def __init__(self, path: Path, advance: Callable[[int], object] | None = None) -> None:
        self.path, self._advance = path, advance
        path.parent.mkdir(exist_ok=True)
        entries = _entries(path)
        ends = [*entries[1:], {"start": 1}]
        #: Texts that a worker had begun when it died, by their ids.
        self.died_in = [
            entry["texts"]
            for entry, after in zip(entries, ends, strict=False)
            if "texts" in entry and "start" in after
        ]
        self._write({"start": 1})

    def died(self, ids: Sequence[str]) -> int:
        """How many workers died with just these texts."""
        return self.died_in.count(list(ids))

    @contextlib.contextmanager
    def reading(self, ids: Sequence[str], tokens: int) -> Iterator[None]:
        """While active, these texts are read; a worker that dies there has died of them."""
        self._write({"texts": list(ids)})
        yield
        self._write({"tokens": tokens})
        if self._advance is not None:
            self._advance(tokens)

    def _write(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _entries(path: Path) -> list[dict[str, Any]]:
    """What a journal holds; its last line may have been cut off."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):
                entries.append(json.loads(line))
    return entries


def journals(folder: Path) -> dict[int, tuple[int, float]]:
    """Of each part that is worked on: the tokens done, and when something last happened."""
    working = {}
    for path in sorted((folder / "journal").glob("[0-9]*")):
        with contextlib.suppress(FileNotFoundError):
            changed = path.stat().st_mtime
            entries = _entries(path)
            last = max((k for k, entry in enumerate(entries) if "start" in entry), default=0)
            done = sum(entry.get("tokens", 0) for entry in entries[last:])
            working[int(path.name)] = done, changed
    return working


def write_json(path: Path, value: Any) -> None:
    """Writes a file that takes the place of another in one step."""
    with replacing(path) as file:
        file.write(json.dumps(value, indent=1).encode())


def part_folder(folder: Path, number: int) -> Path:
    """Where a part is, once it is made."""
    return folder / "parts" / f"{number:06d}"


def read_made(folder: Path, number: int) -> Made | None:
    """What was made of a part; None if it is not there yet."""
    try:
        fields = json.loads((part_folder(folder, number) / PART).read_text("utf-8"))
    except FileNotFoundError:
        return None
    problems = tuple(Problem(**problem) for problem in fields["problems"])
    return Made(fields["tokens"], fields["texts"], problems)


@contextlib.contextmanager
def begun(folder: Path) -> Iterator[None]:
    """While active, no other run writes into the folder; what a run before left half is removed.

    A new folder goes away where an error ends the run before any part is there.
    """
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(f"store: there is no folder {str(folder.absolute().parent)!r}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"store: {str(folder)!r} is a file, accepts a folder")
    lock = filelock.FileLock(folder.absolute().with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ValueError(f"store: another run is writing to {str(folder)!r}") from error
    try:
        ours = {"texts", "parts", "journal", "plan.json", JOB, _MANIFEST}
        if folder.exists() and {path.name for path in folder.iterdir()} - ours:
            raise ValueError(
                f"store: the folder {str(folder)!r} holds something else, accepts a new one or one "
                "that a run over a corpus has begun"
            )
        made = not folder.exists()
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        for partial in (folder / "parts").glob(f"*{PARTIAL}"):
            shutil.rmtree(partial, ignore_errors=True)
        try:
            yield
        except Exception:
            if made and all(part.suffix == PARTIAL for part in (folder / "parts").iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        with contextlib.suppress(OSError):  # Windows keeps files that are open
            Path(lock.lock_file).unlink()
        lock.release()


def write_job(folder: Path, job: Job) -> None:
    """Says what the folder is of; an error if it is of something else."""
    path, wanted = folder / JOB, json.loads(json.dumps(job.description))
    if not path.exists():
        write_json(path, {"job": wanted})
        return
    held = json.loads(path.read_text("utf-8"))["job"]
    for name in {**wanted, **held}:  # what job it is comes first
        if held.get(name) != wanted.get(name):
            raise ValueError(
                f"store: {str(folder)!r} holds {name} {held.get(name)!r}, this run has "
                f"{wanted.get(name)!r}; accepts the arguments that it was begun with, or a new "
                "folder"
            )


def write_manifest(folder: Path, plan: Plan) -> None:
    """Says that all parts are there, and takes away what was needed to make them."""
    parts = []
    for part in plan.parts:
        made = read_made(folder, part.number)
        assert made is not None  # all are
        parts.append({"tokens": made.tokens, "texts": made.texts})
    write_json(folder / _MANIFEST, {"parts": parts})
    for partial in (folder / "parts").glob(f"*{PARTIAL}"):  # of workers that died
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder / "journal", ignore_errors=True)


def read_manifest(folder: Path) -> list[dict[str, int]]:
    """How many tokens and texts each part has; an error if some parts are missing."""
    path = folder / _MANIFEST
    if path.exists():
        parts: list[dict[str, int]] = json.loads(path.read_text("utf-8"))["parts"]
        return parts
    whole = len([1 for made in (folder / "parts").glob("*") if made.suffix != PARTIAL])
    raise ValueError(
        f"path: the run that writes {str(folder)!r} has not finished, {whole} parts are there; "
        "call it again, and it goes on from there"
    )


def check_finished(folder: Path) -> None:
    """Raises an error if a run over a corpus has not written it whole."""
    if not folder.is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(folder)!r}")
    if not is_corpus_folder(folder):
        raise ValueError(f"path: {str(folder)!r} holds nothing that was made of a corpus")
    read_manifest(folder)


def is_corpus_folder(folder: Path) -> bool:
    """Whether a run over a corpus has written it."""
    return (folder / JOB).exists()
