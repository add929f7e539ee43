"""A small treebank as a file, sentences whose words give their tags away, and quick probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from method_samples import subject

from ecco_captum import ProbeReport, TaggedCorpus, probe, read_conllu

NOUNS, VERBS = ("dog", "cat", "key", "table"), ("saw", "are", "sat", "left")


# A Spanish token of two words that do not spell it, an English one that does, an empty node.
TEXT = """\
# sent_id = 1
# text = Vámonos al mar.
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tVB\tMood=Imp|Number=Plur\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tPR\tNumber=Plur\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tl\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tNN\tNumber=Sing\t1\tobl\t_\tSpaceAfter=No
6\t.\t.\tPUNCT\t.\t_\t1\tpunct\t_\t_

# text = New York won
1\tNew York\tNew York\tPROPN\tNNP\t_\t2\tnsubj\t_\t_
1.1\tgone\tgo\tVERB\t_\t_\t_\t_\t_\t_
2\twon\twin\tVERB\tVBD\tTense=Past\t0\troot\t_\t_
"""


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "some.conllu"
    path.write_text(text, encoding="utf-8")
    return path


def corpus_of(folder: Path, sentences: int = 120, seed: int = 0) -> TaggedCorpus:
    """Sentences of four words, whose tags their types give away."""
    rng, blocks = np.random.default_rng(seed), []
    for _ in range(sentences):
        words = ["the", rng.choice(NOUNS), rng.choice(VERBS), rng.choice(NOUNS)]
        tags = ["DET", "NOUN", "VERB", "NOUN"]
        rows = [
            f"{k}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_"
            for k, (word, tag) in enumerate(zip(words, tags, strict=True), start=1)
        ]
        blocks.append("\n".join(rows))
    return read_conllu(written(folder, "\n\n".join(blocks) + "\n"))


def quick(corpus: TaggedCorpus, **change: Any) -> ProbeReport:
    lm, _ = subject("causal:gpt2")
    given = {"trials": 3, "epochs": 20, "learning_rates": (0.1, 1e-2), "progress": False, **change}
    return probe(lm, corpus, **given)
