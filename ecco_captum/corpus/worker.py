r"""Workers: each holds one model, makes parts of a corpus and moves them into their places."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from ecco_captum.corpus.parts import JOB, PART, PARTIAL, Job, Journal, Made, part_folder, write_json
from ecco_captum.corpus.plan import texts_of_part
from ecco_captum.corpus.recipe import LoadedModel, ModelRecipe, fingerprint


class NotDeterministicError(RuntimeError):
    r"""A part was made twice, and the two differ."""


@dataclass(frozen=True)
class Work:
    r"""A job in a folder, as it is sent to workers.

    Args:
        folder (str): an absolute path, which all workers reach.
        job (Job): what is done with each part.
        model (ModelRecipe or LoadedModel): how a worker gets its model.
    """

    folder: str
    job: Job
    model: ModelRecipe | LoadedModel


class Worker:
    """Makes parts, with one model; a model of another version is refused when it is loaded."""

    def __init__(self, work: Work, advance: Callable[[int], object] | None = None) -> None:
        self.folder, self.job, self._advance = Path(work.folder), work.job, advance
        self.lm = work.model.load()
        _check_fingerprint(self.folder, fingerprint(self.lm))

    def __call__(self, number: int) -> Made:
        """Makes a part, and moves it into its place."""
        path = part_folder(self.folder, number)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
        partial.mkdir(parents=True)
        journal = Journal(self.folder / "journal" / path.name, self._advance)
        try:
            made = self.job.run(self.lm, texts_of_part(self.folder, number), partial, journal)
            sums = {
                file.relative_to(partial).as_posix(): _checksum(file)
                for file in sorted(partial.rglob("*"))
                if file.is_file()
            }
            said = json.dumps({**asdict(made), "files": sums}, indent=1)
            (partial / PART).write_text(said, "utf-8")
            _settle(partial, path, number)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        journal.path.unlink(missing_ok=True)
        return made


def _settle(partial: Path, path: Path, number: int) -> None:
    try:
        partial.rename(path)
    except OSError:
        if not path.is_dir():
            raise
        if (path / PART).read_bytes() != (partial / PART).read_bytes():
            raise NotDeterministicError(
                f"part {number} is not deterministic: it was made twice, and the files differ. The "
                "usual causes are workers with other numbers of threads or other processors"
            ) from None


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _check_fingerprint(folder: Path, own: dict[str, str]) -> None:
    """The first worker's is kept; every other must have the same."""
    path = folder / JOB
    (folder / "journal").mkdir(exist_ok=True)
    with filelock.FileLock(folder / "journal" / ".lock"):
        job = json.loads(path.read_text("utf-8"))
        held = job.get("fingerprint")
        if held is None:
            write_json(path, {**job, "fingerprint": own})
            return
    if other := [name for name in own if held.get(name) != own[name]]:
        listed = ", ".join(f"{name} {own[name]} instead of {held.get(name)}" for name in other)
        raise ValueError(
            f"model: the one of this worker has {listed}; accepts the one that {str(folder)!r} "
            "was begun with"
        )
