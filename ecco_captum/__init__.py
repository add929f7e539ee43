"""ecco-captum: what a Transformer language model did while it wrote, shown and tested."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ecco_captum._version import __version__

if TYPE_CHECKING:
    from ecco_captum.ablation import ablate
    from ecco_captum.activations import hidden_states, neurons
    from ecco_captum.activations_record import Activations
    from ecco_captum.anatomy import Anatomy
    from ecco_captum.attribution import Attribution, saliency
    from ecco_captum.canonical_record import CanonicalCorrelations
    from ecco_captum.captum_classes import GenerationInputXGradient
    from ecco_captum.comparing import compare
    from ecco_captum.comparison import Comparison
    from ecco_captum.concept_classifier import ProbeClassifier
    from ecco_captum.effect_record import FactorEffect
    from ecco_captum.erasure import faithfulness
    from ecco_captum.factors import nmf
    from ecco_captum.factors_record import Factors
    from ecco_captum.faithfulness_record import Faithfulness
    from ecco_captum.generation import Generation, force_decode, generate
    from ecco_captum.lens import layer_predictions, rankings
    from ecco_captum.models import LanguageModel, load, wrap
    from ecco_captum.offline import offline_models
    from ecco_captum.pairs import minimal_pairs
    from ecco_captum.pairs_record import MinimalPairs
    from ecco_captum.predictions_record import LayerPredictions
    from ecco_captum.probe_record import ProbeReport
    from ecco_captum.probing import probe
    from ecco_captum.rankings_record import Rankings
    from ecco_captum.records import Record, load_record
    from ecco_captum.report_record import Report
    from ecco_captum.reporting import report
    from ecco_captum.similarity import cca, cka, pwcca, svcca
    from ecco_captum.similarity_record import Similarity
    from ecco_captum.treebank import TaggedCorpus, read_conllu
    from ecco_captum.watched_record import WatchedRankings
    from ecco_captum.watching import rankings_watch
    from ecco_captum.word_order import OrderTest, order_test

# Where each public name lives. Imported when first asked for (PEP 562), so that
# `import ecco_captum` costs neither torch nor ipywidgets.
_HOMES = {
    "Activations": "activations_record",
    "Anatomy": "anatomy",
    "Attribution": "attribution",
    "CanonicalCorrelations": "canonical_record",
    "Comparison": "comparison",
    "FactorEffect": "effect_record",
    "Factors": "factors_record",
    "Faithfulness": "faithfulness_record",
    "Generation": "generation",
    "GenerationInputXGradient": "captum_classes",
    "LanguageModel": "models",
    "LayerPredictions": "predictions_record",
    "MinimalPairs": "pairs_record",
    "OrderTest": "word_order",
    "ProbeClassifier": "concept_classifier",
    "ProbeReport": "probe_record",
    "Rankings": "rankings_record",
    "Record": "records",
    "Report": "report_record",
    "Similarity": "similarity_record",
    "TaggedCorpus": "treebank",
    "WatchedRankings": "watched_record",
    "ablate": "ablation",
    "cca": "similarity",
    "cka": "similarity",
    "compare": "comparing",
    "faithfulness": "erasure",
    "force_decode": "generation",
    "generate": "generation",
    "hidden_states": "activations",
    "layer_predictions": "lens",
    "load": "models",
    "load_record": "records",
    "minimal_pairs": "pairs",
    "neurons": "activations",
    "nmf": "factors",
    "offline_models": "offline",
    "order_test": "word_order",
    "probe": "probing",
    "pwcca": "similarity",
    "rankings": "lens",
    "rankings_watch": "watching",
    "read_conllu": "treebank",
    "report": "reporting",
    "saliency": "attribution",
    "svcca": "similarity",
    "wrap": "models",
}

__all__ = [
    "Activations",
    "Anatomy",
    "Attribution",
    "CanonicalCorrelations",
    "Comparison",
    "FactorEffect",
    "Factors",
    "Faithfulness",
    "Generation",
    "GenerationInputXGradient",
    "LanguageModel",
    "LayerPredictions",
    "MinimalPairs",
    "OrderTest",
    "ProbeClassifier",
    "ProbeReport",
    "Rankings",
    "Record",
    "Report",
    "Similarity",
    "TaggedCorpus",
    "WatchedRankings",
    "__version__",
    "ablate",
    "cca",
    "cka",
    "compare",
    "faithfulness",
    "force_decode",
    "generate",
    "hidden_states",
    "layer_predictions",
    "load",
    "load_record",
    "minimal_pairs",
    "neurons",
    "nmf",
    "offline_models",
    "order_test",
    "probe",
    "pwcca",
    "rankings",
    "rankings_watch",
    "read_conllu",
    "report",
    "saliency",
    "svcca",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "widgets":  # a package of its own
        return importlib.import_module("ecco_captum.widgets")
    if name not in _HOMES:
        raise AttributeError(f"module 'ecco_captum' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ecco_captum.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
