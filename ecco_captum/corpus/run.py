r"""Runs over a corpus: parts that are not there yet are made, by whatever engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ecco_captum.core.progress import Progress, progress_bar
from ecco_captum.corpus.corpus import Corpus, Problem
from ecco_captum.corpus.engines import Engine, EngineName, engine_of
from ecco_captum.corpus.parts import (
    Job,
    begun,
    read_made,
    write_job,
    write_manifest,
)
from ecco_captum.corpus.plan import TOKENS_PER_PART, Plan, written_plan
from ecco_captum.corpus.recipe import LoadedModel, ModelRecipe
from ecco_captum.corpus.worker import Work
from ecco_captum.models.language_model import LanguageModel


def run_job(
    job: Job,
    model: LanguageModel | ModelRecipe | str,
    texts: Any,
    folder: str | os.PathLike[str],
    *,
    tokens_per_part: int = TOKENS_PER_PART,
    engine: Engine | EngineName = "local",
    progress: Progress = None,
) -> Plan:
    """Makes all parts of a corpus that a folder lacks; ``texts`` may be None if it was planned."""
    chosen, path = engine_of(engine), Path(folder).absolute()
    recipe = model_recipe(model)
    corpus = texts if texts is None or isinstance(texts, Corpus) else Corpus(texts)
    with begun(path):
        write_job(path, job)
        plan = written_plan(path, corpus, recipe, tokens_per_part)
        missing = [part.number for part in plan.parts if read_made(path, part.number) is None]
        work = Work(str(path), job, recipe)
        shown = f"Reading{chosen.by}"
        with progress_bar(progress, total=plan.tokens, desc=shown, unit=" tokens") as bar:
            if len(missing) < len(plan.parts):
                lacking = set(missing)
                bar.update(sum(part.tokens for part in plan.parts if part.number not in lacking))
            if missing:
                for _ in chosen.run(work, missing, bar.update):
                    pass
        write_manifest(path, plan)
    return plan


def model_recipe(model: Any) -> ModelRecipe | LoadedModel:
    """Reads the argument ``model``."""
    if isinstance(model, LanguageModel):
        return LoadedModel(model)
    if isinstance(model, str):
        return ModelRecipe(model)
    if not isinstance(model, ModelRecipe):
        raise TypeError(
            f"model: got a {type(model).__name__}, accepts a LanguageModel, a ModelRecipe or a name"
        )
    return model


def problems_of(folder: Path, plan: Plan) -> list[Problem]:
    """What was wrong with rows of the corpus, and with texts that were left out."""
    problems = list(plan.problems)
    for part in plan.parts:
        made = read_made(folder, part.number)
        problems += made.problems if made is not None else ()
    return problems
