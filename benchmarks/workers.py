r"""The processes in which contestants work, and the text that they are given."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import multiprocessing
import os
import statistics
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ig_peers import IG_CONTESTANTS
from peers import CONTESTANTS as GRADIENT_CONTESTANTS
from peers import Definition, Meter, MethodInput, forget_peak, naive_rows, peak_memory

CONTESTANTS = {**GRADIENT_CONTESTANTS, **IG_CONTESTANTS}

MODEL = "smollm2-135m"
PROMPT_TOKENS = 49
# Longer than the prompt and 96 outputs; repeated where more are asked for.
PASSAGE = (
    "The lighthouse stood at the end of a narrow road, and nobody in the village could remember a "
    "time before it. Every evening the keeper climbed the stairs, cleaned the great lens with a "
    "soft cloth, and lit the lamp before the first boats came home. In winter the waves reached "
    "the windows of the lower room. In summer, children brought him bread and berries, and he told "
    "them about ships that had carried tea, timber and salt from one side of the world to the "
    "other. When the old lamp was replaced by an electric one, the keeper stayed. Somebody, he "
    "said, has to watch the sea, because the sea does not watch over us. He wrote down the weather "
    "in a thick book, each page with a date, the wind, and the number of sails that he had seen. "
    "The book is now in the museum of the harbour, where visitors may turn its pages slowly."
)


def case_of(tokenizer: Any, outputs: int, prompt: int = PROMPT_TOKENS) -> MethodInput:
    """A prompt and a forced continuation: the same ids for everybody."""
    text, ids = "", []
    while len(ids) < prompt + outputs:
        text = f"{text} {PASSAGE}".strip()
        ids = tokenizer(text)["input_ids"]
    ids = ids[: prompt + outputs]
    return MethodInput(
        ids[:prompt], ids[prompt:], tokenizer.decode(ids[:prompt]), tokenizer.decode(ids)
    )


def loaded(threads: int) -> Any:
    """The model, in the process that asks."""
    import torch
    import transformers

    import ecco_captum

    torch.set_num_threads(threads)
    transformers.logging.disable_progress_bar()
    return ecco_captum.load(MODEL)


def held_memory() -> int:
    """Bytes that this process holds, once it has given back what it does not need."""
    gc.collect()
    # Only glibc has it; without, a little of the peak may hide in memory that was kept for later.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    forget_peak()
    return peak_memory()


def serve(connection: Any, name: str, outputs: int, threads: int, check: bool) -> None:
    """A contestant's process: load, run a tiny case, then run the case whenever asked."""
    # What libraries print belongs beside the tables, not in them.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        lm = loaded(threads)
        case = case_of(lm.tokenizer, outputs)
        expected = None
        if check:
            # Now, because some libraries change the model that they are built on.
            definition = CONTESTANTS[name].definition
            expected = naive_rows(lm, case, definition), naive_rows(lm, case, Definition())
        run = CONTESTANTS[name].build(lm)
        run(case_of(lm.tokenizer, 2, prompt=3), Meter())
        connection.send(held_memory())
        while connection.recv():
            gc.collect()
            meter = Meter()
            scores = run(case, meter)
            connection.send(meter)
            if expected:
                connection.send(difference(scores, case, *expected))
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0][:120])


@dataclass
class Worker:
    r"""A contestant's process, as the parent sees it.

    Args:
        name (str): which contestant.
        trouble (str): why it cannot run; empty where it can.
        loaded (int): bytes held by the process with the model loaded.
        runs (list of Meter): what was measured, one a round.
    """

    name: str
    trouble: str = ""
    loaded: int = 0
    runs: list[Meter] = field(default_factory=list)
    process: Any = None
    connection: Any = None

    def start(self, outputs: int, threads: int, check: bool = False) -> Worker:
        """Starts the process and waits until it is ready."""
        if importlib.util.find_spec(CONTESTANTS[self.name].package) is None:
            self.trouble = "not installed"
            return self
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.name, outputs, threads, check)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.loaded = self.answer() or 0
        return self

    def run(self) -> None:
        """One run, unless there was trouble."""
        if self.trouble:
            return
        with contextlib.suppress(OSError):
            self.connection.send(True)
        measured = self.answer()
        if measured is not None:
            self.runs.append(measured)
            note(f"  {CONTESTANTS[self.name].title}: {measured.seconds:.2f} s")

    def answer(self) -> Any:
        """What the process says next; None where that is trouble."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            said = "its process ended"
        if not isinstance(said, str):
            return said
        self.trouble = f"failed: {said}"
        note(f"  {CONTESTANTS[self.name].title} {self.trouble}")
        return None

    def stop(self) -> None:
        """Ends the process."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.connection.send(False)
            self.process.join()

    @property
    def seconds(self) -> list[float]:
        """Time of each round."""
        return [measured.seconds for measured in self.runs]

    @property
    def memory(self) -> list[str]:
        """Peak over the loaded model, and absolute, in megabytes."""
        peak = max(measured.peak for measured in self.runs)
        return [f"{(peak - self.loaded) / 1e6:.0f}", f"{peak / 1e6:.0f}"]

    def over(self, other: Worker | None) -> str:
        """Median over the rounds of this one's time as a multiple of another's."""
        if other is None or other.trouble:
            return "–"
        pairs = zip(self.seconds, other.seconds, strict=True)
        return f"{statistics.median(mine / theirs for mine, theirs in pairs):.2f}"


@dataclass(frozen=True)
class Difference:
    r"""How far a contestant is from the naive loop.

    Args:
        lengths (tuple of int): the prompt tokens and outputs that it worked on.
        aligned (bool): whether those are the case's; if not, there is nothing to compare.
        by_element (float): largest difference from the naive loop of the contestant's own
            definition, relative to the number itself.
        by_row (float): the same, relative to the largest number of its row. Signed sums cancel, so
            that theirs is rounding too where it is much larger than the others'.
        shares (float): mean total variation distance of the rows' shares from those of the logit's
            L2, over the positions that both cover: 0 is the same, 1 has nothing in common.
    """

    lengths: tuple[int, int]
    aligned: bool
    by_element: float = 0.0
    by_row: float = 0.0
    shares: float = 0.0


def difference(scores: Any, case: MethodInput, expected: list[Any], plain: list[Any]) -> Difference:
    """Compares what a contestant found with the naive loop of its definition, and of ours."""
    if scores.lengths != case.lengths:
        return Difference(scores.lengths, aligned=False)
    by_element, by_row, shares = [], [], []
    for found, own, ours in zip(scores.rows, expected, plain, strict=True):
        gap = np.abs(found - own)
        by_element.append((gap / np.abs(own)).max())
        by_row.append(gap.max() / np.abs(own).max())
        found, ours = np.abs(found), ours[: len(found)]
        shares.append(np.abs(found / found.sum() - ours / ours.sum()).sum() / 2)
    # numpy's maximum, unlike Python's, does not pass over NaN.
    worst = float(np.max(by_element)), float(np.max(by_row))
    return Difference(scores.lengths, True, *worst, float(np.mean(shares)))


def note(text: str) -> None:
    """Progress goes beside the tables, not into them."""
    print(text, file=sys.stderr, flush=True)
