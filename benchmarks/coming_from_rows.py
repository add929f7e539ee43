r"""The checks of ``coming_from.py``: for each row of docs/coming_from.md, both sides of it.

A check is called with an example, runs both libraries on its model and its tokens, and returns what
agrees; where they differ in more than the page states, an assertion fails. Ecco's checks run this
side only.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

Check = Callable[["Example"], str]
CHECKS: dict[str, dict[str, Check]] = {"Ecco": {}, "Captum": {}, "Inseq": {}, "TransformerLens": {}}
"""By library, then by what a row's left cell begins with."""


def row(library: str, begins: str) -> Callable[[Check], Check]:
    """Registers the check of a row."""

    def register(check: Check) -> Check:
        assert begins not in CHECKS[library], begins
        CHECKS[library][begins] = check
        return check

    return register


class Example:
    """One model, and one text: a prompt and what follows, the same tokens for everybody."""

    name = "smollm2-135m"
    prompt = "The capital of France is"
    continuation = " Paris, and"

    @cached_property
    def lm(self) -> Any:
        import ecco_captum as ec

        return ec.load(self.name)

    @cached_property
    def generation(self) -> Any:
        import ecco_captum as ec

        return ec.force_decode(self.lm, self.prompt, self.continuation)

    @cached_property
    def forward(self) -> Callable[[Any], Any]:
        """The next token's logits from embeddings, as one would write it."""
        return lambda embedded: self.lm.model(inputs_embeds=embedded).logits[:, -1]

    @property
    def prompt_length(self) -> int:
        return len(self.generation.prompt_ids)

    def prefixes(self) -> Iterator[tuple[Any, int]]:
        """The embeddings before each output, and that output."""
        import torch

        ids, embed = self.generation.tokens.ids, self.lm.model.get_input_embeddings()
        for t, target in enumerate(self.generation.output_ids.tolist()):
            before = torch.tensor(ids[None, : self.prompt_length + t])
            yield embed(before).detach(), target

    def rows(self, table: Any) -> np.ndarray:
        """What each output can depend on, of a table (outputs, positions), in one row."""
        start = self.prompt_length
        return np.concatenate([np.asarray(r)[: start + t] for t, r in enumerate(table)])

    @cached_property
    def inseq(self) -> Any:
        import inseq

        return inseq.load_model(self.lm.model, "input_x_gradient", tokenizer=self.lm.tokenizer)

    @cached_property
    def lens(self) -> Any:
        """A TransformerLens model on the weights as they are."""
        return self.transformer_lens(processed=False)

    def transformer_lens(self, processed: bool) -> Any:
        """A TransformerLens model on a copy of the weights, as they are or as it processes them."""
        model, tokenizer = copy.deepcopy(self.lm.model), self.lm.tokenizer
        name = "HuggingFaceTB/SmolLM2-135M-Instruct"
        try:
            from transformer_lens import HookedTransformer
        except ImportError:  # since version 4
            from transformer_lens.model_bridge import TransformerBridge

            made = TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer)
            if processed:
                made.enable_compatibility_mode()
            return made
        from transformer_lens import loading_from_pretrained as loading
        from transformer_lens.pretrained.weight_conversions import convert_llama_weights

        # As from_pretrained does it, which takes no model that it has no name for.
        with tempfile.TemporaryDirectory() as folder:
            model.config.save_pretrained(folder)
            config = loading.get_pretrained_model_config(folder)
        config.rotary_base = model.config.rope_parameters["rope_theta"]  # else 10,000
        made = HookedTransformer(config, tokenizer)
        steps = dict.fromkeys(("fold_ln", "center_unembed", "fold_value_biases"), processed)
        steps |= {"center_writing_weights": False}  # of LayerNorm alone
        made.load_and_process_state_dict(convert_llama_weights(model, config), **steps)
        return made

    @cached_property
    def cache(self) -> Any:
        """What TransformerLens keeps of a forward over all tokens but the last."""
        return self.lens.run_with_cache(self.read)[1]

    @property
    def read(self) -> Any:
        """The ids that predict the outputs: (1, positions)."""
        import torch

        return torch.tensor(self.generation.tokens.ids[None, :-1])


def close(ours: Any, theirs: Any, what: str = "the numbers", within: float = 1e-3) -> str:
    """Says that two arrays are the same, up to a part of the largest number."""
    a, b = (
        np.asarray(each.detach() if hasattr(each, "detach") else each) for each in (ours, theirs)
    )
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape}"
    difference = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))
    assert difference < within, f"{what}: {difference:.1e} of the largest number apart"
    return f"{what} agree, within {difference:.0e} of the largest"


def same(ours: Any, theirs: Any, what: str) -> str:
    """Says that two lists are equal."""
    assert list(ours) == list(theirs), f"{what}: {list(ours)} and {list(theirs)}"
    return f"{what} are equal"


# Ecco: this side only.


@row("Ecco", '`ecco.from_pretrained("distilgpt2")`')
def _(example: Example) -> str:
    return f"loads {example.lm.name}"


@row("Ecco", "`lm.generate(text, generate=20, do_sample=False)`")
def _(example: Example) -> str:
    import torch

    import ecco_captum as ec

    ours = ec.generate(example.lm, example.prompt, max_new_tokens=20)
    ids = torch.tensor(ours.prompt_ids[None])
    plain = example.lm.model.generate(ids, max_new_tokens=20, do_sample=False)
    return same(ours.tokens.ids, plain[0].tolist(), "greedy tokens of transformers")


@row("Ecco", "`lm.generate(text, generate=20, do_sample=True)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    drawn = [
        ec.generate(example.lm, example.prompt, max_new_tokens=20, do_sample=True, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert drawn[0].text != drawn[2].text, "two seeds draw the same"
    return same(drawn[0].output_ids, drawn[1].output_ids, "tokens of one seed")


@row("Ecco", '`output.primary_attributions(attr_method="grad_x_input")`')
def _(example: Example) -> str:
    import ecco_captum as ec

    return close(example.rows(ec.saliency(example.lm, example.generation).scores), _norms(example))


@row("Ecco", '`attr_method="ig"`')
def _(example: Example) -> str:
    import ecco_captum as ec

    for name in ("ig", "saliency", "dl", "dls", "gb", "deconv"):
        made = ec.saliency(example.lm, example.generation, method=name, outputs=[0])
        assert np.isfinite(made.scores).all(), name
        assert name in ("saliency", "gb", "deconv") or "baseline" in made.settings, name
    return "all six run"


@row("Ecco", '`attr_method="lrp"`')
def _(example: Example) -> str:
    import ecco_captum as ec

    for name in ("lrp", "gg"):
        try:
            ec.saliency(example.lm, example.generation, method=name)
        except ValueError:
            continue
        raise AssertionError(f"{name} is not refused")
    ec.saliency(example.lm, example.generation, method="attn_lrp")
    return "both are refused, AttnLRP runs"


@row("Ecco", '`output.primary_attributions(..., style="detailed")`')
def _(example: Example) -> str:
    import ecco_captum as ec

    page = ec.saliency(example.lm, example.generation).to_html()
    assert " Paris" in page or "Paris" in page
    return "the page is made"


@row("Ecco", '`output.attributions["grad_x_input"]`')
def _(example: Example) -> str:
    import ecco_captum as ec

    shares = ec.saliency(example.lm, example.generation).shares
    return close(np.abs(shares).sum(axis=1), np.ones(len(shares)), "sums of the magnitudes and 1")


@row("Ecco", "`output.rankings()`")
def _(example: Example) -> str:
    return _plain_lens(example)


@row("Ecco", "`output.rankings_watch(watch=[314, 359], position=-1)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    by_text = ec.rankings_watch(example.lm, example.prompt, [" is", " are"])
    ids = [example.lm.tokenizer.encode(text)[0] for text in (" is", " are")]
    by_id = ec.rankings_watch(example.lm, example.prompt, ids)
    return same(by_text.ranks.ravel(), by_id.ranks.ravel(), "ranks by text and by id")


@row("Ecco", "`output.layer_predictions(position=23, topk=10)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    place = example.prompt_length
    made = ec.layer_predictions(example.lm, example.generation, place, k=10)
    ranked = ec.rankings(example.lm, example.generation, control=False)
    return same(made.token_ids[:, 0], ranked.top_ids[:, 0], "top tokens of rankings")


@row("Ecco", "`output.run_nmf(n_components=8)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    acts = ec.neurons(example.lm, example.generation)
    clipped, split = ec.nmf(acts, 2), ec.nmf(acts, 2, negatives="split")
    assert clipped.clipped > 0 == split.clipped, (clipped.clipped, split.clipped)
    return f"clipping loses {clipped.clipped:.1%}, splitting nothing"


@row("Ecco", "`ecco.analysis.cca(x, y)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    x, y = np.random.default_rng(0).normal(size=(2, 400, 5))
    for measure in (ec.cca, ec.svcca, ec.pwcca, ec.cka):
        assert 0.99 < float(measure(x, x)) < 1.01, measure
    kernels = [((a - a.mean(0)) @ (a - a.mean(0)).T).ravel() for a in (x, y)]
    linear = (
        kernels[0] @ kernels[1] / np.sqrt((kernels[0] @ kernels[0]) * (kernels[1] @ kernels[1]))
    )
    assert abs(ec.cka(x, y) - linear) > 1e-4, "the default is not debiased"
    return close([ec.cka(x, y, debiased=False)], [linear], "CKA and its definition")


@row("Ecco", "")
def _(example: Example) -> str:
    import ecco_captum as ec

    texts = ["The old watch stopped at noon.", "They watch the river in the old town."] * 3
    states = ec.hidden_states(example.lm, texts, layers=[0, 1, 2])
    made = ec.compare(states, measure="cka", n_draws=19)
    assert made.values.shape == made.null_mean.shape == (3, 3)
    return "every pair has its null"


@row("Ecco", "the notebook's probes")
def _(example: Example) -> str:
    import ecco_captum as ec

    made = ec.probe(
        example.lm, ec.read_conllu(), layers=[0, 3], representations=["hidden"], trials=1
    )
    assert {"layer", "accuracy", "control_accuracy"} <= set(made.to_pandas())
    return "each layer stands beside its control task"


@row("Ecco", "`output.tokens`")
def _(example: Example) -> str:
    tokens = example.generation.tokens
    assert "".join(tokens.texts[tokens.prompt_length :]) == example.continuation
    return "the texts of prompt and outputs"


def _norms(example: Example) -> np.ndarray:
    """L2 norms of Captum's InputXGradient, once for each output."""
    from captum.attr import InputXGradient

    explainer = InputXGradient(example.forward)
    made = [
        explainer.attribute(embedded.requires_grad_(), target=target).norm(dim=-1)[0].detach()
        for embedded, target in example.prefixes()
    ]
    return np.concatenate(made)


def _plain_lens(example: Example) -> str:
    """Ranks under the final norm and the head, on every layer's hidden states."""
    import torch

    import ecco_captum as ec

    model, targets = example.lm.model, torch.tensor(example.generation.output_ids)
    with torch.no_grad():
        hidden = model(example.read, output_hidden_states=True).hidden_states
        ranks = []
        for k, states in enumerate(hidden):
            last = states[0, -len(targets) :]
            # transformers gives the last row after the norm already.
            logits = model.lm_head(last if k == len(hidden) - 1 else model.model.norm(last))
            own = logits.gather(1, targets[:, None])
            ranks.append(1 + (logits > own).sum(1).numpy())
    ours = ec.rankings(example.lm, example.generation, control=False).ranks
    agree = float(np.mean(ours == np.array(ranks)))
    assert agree > 0.97, f"{agree:.1%} of the ranks are equal"
    return f"{agree:.1%} of the ranks equal those of a lens written by hand"


# Captum.


@row("Captum", "`LLMGradientAttribution(LayerGradientXActivation(model, embedding), tokenizer)`")
def _(example: Example) -> str:
    from captum.attr import LayerGradientXActivation, LLMGradientAttribution, TextTokenInput

    import ecco_captum as ec

    model, tokenizer = example.lm.model, example.lm.tokenizer
    explainer = LLMGradientAttribution(
        LayerGradientXActivation(model, model.get_input_embeddings()), tokenizer
    )
    result = explainer.attribute(
        TextTokenInput(example.prompt, tokenizer), target=example.continuation
    )
    ours = ec.saliency(example.lm, example.generation, score="logprob", aggregate="sum")
    prompt = ours.scores[:, : example.prompt_length]
    assert np.abs(ours.scores[1:, example.prompt_length :]).max() > 0, "no earlier outputs"
    return close(prompt, result.token_attr, "the prompt's columns")


@row("Captum", "`TextTokenInput(text, tokenizer)` and a target string")
def _(example: Example) -> str:
    from captum.attr import TextTokenInput

    given = TextTokenInput(example.prompt, example.lm.tokenizer).to_model_input()[0].tolist()
    target = example.lm.tokenizer.encode(example.continuation, add_special_tokens=False)
    return same(example.generation.tokens.ids, [*given, *target], "ids")


@row("Captum", "`InputXGradient(forward).attribute(embeddings, target=token)`, once a token")
def _(example: Example) -> str:
    import ecco_captum as ec

    return close(example.rows(ec.saliency(example.lm, example.generation).scores), _norms(example))


@row("Captum", "`IntegratedGradients(forward).attribute(...)`, any class or object")
def _(example: Example) -> str:
    from captum.attr import IntegratedGradients

    import ecco_captum as ec

    explainer = IntegratedGradients(example.forward)
    theirs = np.concatenate(
        [
            explainer.attribute(embedded, target=target, n_steps=20).sum(dim=-1)[0].detach()
            for embedded, target in example.prefixes()
        ]
    )
    options: dict[str, Any] = {"baseline": "zero", "keep_first": False, "n_steps": 20}
    ours = ec.saliency(example.lm, example.generation, method=IntegratedGradients, **options)
    usual = ec.saliency(example.lm, example.generation, method=IntegratedGradients, n_steps=20)
    assert (usual.settings["baseline"], usual.settings["keep_first"]) == ("mean", True)
    assert not usual.scores[:, 0].any()
    said = close(example.rows(ours.scores), theirs, "sums over the embedding")
    return f'with `baseline="zero", keep_first=False` and 20 steps {said}'


@row("Captum", "`LLMAttribution(FeatureAblation(model), tokenizer)`")
def _(example: Example) -> str:
    from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput

    import ecco_captum as ec

    tokenizer = example.lm.tokenizer
    explainer = LLMAttribution(FeatureAblation(example.lm.model), tokenizer)
    given = TextTokenInput(example.prompt, tokenizer)  # its baseline is the token 0
    result = explainer.attribute(given, target=example.continuation, use_cached_outputs=False)
    chosen: dict[str, Any] = {"method": "feature_ablation", "score": "logprob"}
    ours = ec.saliency(example.lm, example.generation, **chosen, baseline=0, keep_first=False)
    usual = ec.saliency(example.lm, example.generation, **chosen)
    assert usual.settings["baseline"] == "mean"
    prompt = ours.scores[:, : example.prompt_length]
    said = close(prompt, result.token_attr, "the prompt's columns")
    said = f"with `baseline=0` here and `use_cached_outputs=False` there {said}"
    cached = explainer.attribute(given, target=example.continuation).token_attr
    apart = float((cached - result.token_attr).abs().max() / result.token_attr.abs().max())
    return f"{said}; its default, cached outputs, is {apart:.0%} of the largest away from that"


@row("Captum", "`visualization.visualize_text(records)`")
def _(example: Example) -> str:
    from captum.attr import visualization

    import ecco_captum as ec

    made = ec.saliency(example.lm, example.generation)
    assert "Paris" in visualization.visualize_text(made.to_visualization_records()).data
    assert "http" not in re_links(made.to_html())
    return "both pages are made"


def re_links(page: str) -> str:
    """What a page loads: the values of src and href."""
    import re

    return " ".join(re.findall(r'(?:src|href)="([^"#]*)"', page))


# Inseq.


def attributed(example: Example, **options: Any) -> Any:
    """Inseq's attribution of the example's tokens, its first sequence."""
    text = example.prompt + example.continuation
    options = {"show_progress": False, **options}
    return example.inseq.attribute(example.prompt, text, **options).sequence_attributions[0]


def table_of(sequence: Any) -> np.ndarray:
    """Inseq's numbers as (outputs, positions): L2 norms, where it gives embeddings."""
    table = sequence.target_attributions
    return np.asarray((table.norm(dim=-1) if table.ndim == 3 else table).T)


def compared(example: Example, theirs: dict[str, Any], ours: dict[str, Any], what: str) -> str:
    """Both sides with their options, as L2 norms."""
    import ecco_captum as ec

    made = ec.saliency(example.lm, example.generation, aggregate="l2", **ours)
    return close(
        example.rows(made.scores), example.rows(table_of(attributed(example, **theirs))), what
    )


@row("Inseq", '`inseq.load_model("gpt2", "integrated_gradients")`')
def _(example: Example) -> str:
    return f"{type(example.inseq).__name__} on the same weights"


@row("Inseq", "`model.attribute(text)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    result = example.inseq.attribute(
        example.prompt, generation_args={"max_new_tokens": 3}, show_progress=False
    )
    generation = ec.generate(example.lm, example.prompt, max_new_tokens=3)
    ours = ec.saliency(example.lm, generation, score="prob")
    theirs = table_of(result.sequence_attributions[0])
    return close(example.rows(ours.scores), example.rows(theirs), "gradients × inputs of `prob`")


@row("Inseq", '`model.attribute(text, generated_texts=text + " Paris")`')
def _(example: Example) -> str:
    return compared(example, {}, {"score": "prob"}, "gradients × inputs")


@row("Inseq", '`attributed_fn="probability"`')
def _(example: Example) -> str:
    names = {"probability": "prob", "logit": "logit", "entropy": "entropy"}
    for theirs, ours in names.items():
        compared(example, {"attributed_fn": theirs}, {"score": ours}, theirs)
    try:
        return compared(
            example, {"attributed_fn": "crossentropy"}, {"score": "logprob"}, "all four"
        )
    except ValueError as error:  # its targets lose their axis
        return f"these three agree; `crossentropy` fails there ({str(error).rstrip('.')})"


@row("Inseq", '`attributed_fn="contrast_logits_diff"`')
def _(example: Example) -> str:
    import ecco_captum as ec

    short = ShortExample(example)
    contrast = {"contrast_targets": example.prompt + " London"}
    theirs = attributed(short, attributed_fn="contrast_logits_diff", **contrast)
    ours = ec.saliency(example.lm, short.generation, versus=" London")
    return close(short.rows(ours.scores), short.rows(table_of(theirs)), "differences of logits")


class ShortExample(Example):
    """The same model and prompt, and one output."""

    continuation = " Paris"

    def __init__(self, other: Example) -> None:
        self.__dict__.update(lm=other.lm, inseq=other.inseq)


@row("Inseq", '`method="input_x_gradient"`')
def _(example: Example) -> str:
    import ecco_captum as ec

    theirs, ours = {"attributed_fn": "logit"}, {"score": "logit"}
    for name in ("input_x_gradient", "saliency"):
        compared(example, {**theirs, "method": name}, {**ours, "method": name}, name)
    removed = attributed(example, method="occlusion", **theirs)
    blank = example.lm.tokenizer.unk_token_id
    made = ec.saliency(example.lm, example.generation, method="occlusion", baseline=blank, window=1)
    close(np.abs(example.rows(made.scores)), example.rows(table_of(removed)), "occlusion")
    ran = []
    for name in ("gradient_shap", "lime", "deeplift"):
        try:
            attributed(example, method=name, **theirs)
            ran.append(name)
        except Exception as error:
            ran.append(f"{name} fails there ({type(error).__name__})")
    for name in ("gradient_shap", "lime", "deep_lift"):
        ec.saliency(example.lm, example.generation, method=name, outputs=[0])
    agree = "`input_x_gradient`, `saliency` and the magnitudes of `occlusion` agree"
    return f"{agree}; drawn or by other rules, not compared: {', '.join(ran)}"


@row("Inseq", '`method="integrated_gradients"`')
def _(example: Example) -> str:
    blank = example.lm.tokenizer.unk_token_id
    ours = {"method": "ig", "baseline": blank, "keep_first": False, "n_steps": 20}
    theirs = {"method": "integrated_gradients", "attributed_fn": "logit", "n_steps": 20}
    said = compared(example, {**theirs, "internal_batch_size": 20}, ours, "L2 norms")
    return f"with the unknown token as baseline and `keep_first=False` {said}"


@row("Inseq", '`method="attention"`')
def _(example: Example) -> str:
    import ecco_captum as ec

    model = example.lm.model
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")  # of others Inseq gets no weights
    try:
        theirs = attributed(example, method="attention").aggregate()
    finally:
        model.set_attn_implementation(usual)
    ours = ec.saliency(example.lm, example.generation, method="attention")
    said = close(example.rows(ours.shares), example.rows(table_of(theirs)), "shares")
    return f"with eager attention there {said}"


@row("Inseq", '`"discretized_integrated_gradients"`')
def _(example: Example) -> str:
    import inseq

    known = set(inseq.list_feature_attribution_methods())
    named = {"discretized_integrated_gradients", "sequential_integrated_gradients", "reagent"}
    assert named | {"value_zeroing", "layer_gradient_x_activation"} <= known, sorted(known)
    return "Inseq has these methods"


@row("Inseq", "`attribute_target=True`")
def _(example: Example) -> str:
    import sys

    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    import inseq
    import tiny_models
    import tiny_tokenizers
    import torch

    import ecco_captum as ec

    tokenizer = tiny_tokenizers.word_piece()
    tokenizer.add_special_tokens({"eos_token": "</s>"})
    model = tiny_models.build("seq2seq", "bart")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.generation_config.decoder_start_token_id = model.config.decoder_start_token_id = 0
    lm = ec.wrap(model, tokenizer, name="tiny")
    explainer = inseq.load_model(model, "input_x_gradient", tokenizer=tokenizer)
    torch.manual_seed(0)
    text, target = "the keys to the cabinet", "are on the table"
    result = explainer.attribute(
        text, target, attribute_target=True, attributed_fn="logit", show_progress=False
    ).sequence_attributions[0]
    generation = ec.force_decode(lm, text, result_ids(result))
    ours = ec.saliency(lm, generation).scores
    theirs = np.asarray(result.source_attributions.norm(dim=-1).T)
    return close(ours[: len(theirs), : theirs.shape[1]], theirs, "the source's columns")


def result_ids(sequence: Any) -> list[int]:
    """The ids of the outputs that Inseq read, less the start."""
    return [token.id for token in sequence.target][sequence.attr_pos_start :]


@row("Inseq", "`attr_pos_start=…`")
def _(example: Example) -> str:
    import ecco_captum as ec

    start = example.prompt_length
    theirs = attributed(
        example, attributed_fn="logit", attr_pos_start=start + 1, attr_pos_end=start + 3
    )
    ours = ec.saliency(example.lm, example.generation, outputs=slice(1, 3))
    pairs = list(zip(ours.scores, table_of(theirs), strict=True))
    ours_, theirs_ = (
        np.concatenate([pair[side][: start + 1 + k] for k, pair in enumerate(pairs)])
        for side in (0, 1)
    )
    return close(ours_, theirs_, "the chosen outputs")


@row("Inseq", '`out.aggregate("subwords")`')
def _(example: Example) -> str:
    import ecco_captum as ec

    theirs = attributed(example, attributed_fn="logit").aggregate()
    ours = ec.saliency(example.lm, example.generation)
    shares = close(example.rows(ours.shares), example.rows(table_of(theirs)), "shares")
    span = ours.by_span([(0, 3)])
    assert span.scores.shape[1] == ours.scores.shape[1] - 2
    assert len(ours.by_word().tokens) <= len(ours.tokens)
    return f"{shares}; words and spans are not compared"


@row("Inseq", "`out.show()`")
def _(example: Example) -> str:
    import ecco_captum as ec

    text = example.prompt + example.continuation
    result = example.inseq.attribute(example.prompt, text, show_progress=False)
    assert "Paris" in str(result.show(return_html=True, display=False))
    assert "Paris" in ec.saliency(example.lm, example.generation).to_html()
    return "both pages are made"


@row("Inseq", '`step_scores=["probability"]`')
def _(example: Example) -> str:
    theirs = attributed(example, step_scores=["probability"]).step_scores["probability"]
    return close(np.exp(example.generation.logprobs), theirs, "probabilities and exp(logprobs)")


@row("Inseq", '`out.save("out.json")`')
def _(example: Example) -> str:
    import inseq

    import ecco_captum as ec

    text = example.prompt + example.continuation
    result = example.inseq.attribute(example.prompt, text, show_progress=False)
    made = ec.saliency(example.lm, example.generation)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "out.json")
        result.save(path)
        inseq.FeatureAttributionOutput.load(path)
        made.save(Path(folder) / "out.npz")
        again = ec.load_record(Path(folder) / "out.npz")
    np.testing.assert_array_equal(again.scores, made.scores)
    return "both are read again"


# TransformerLens.


@row("TransformerLens", '`HookedTransformer.from_pretrained("gpt2")`')
def _(example: Example) -> str:
    import torch

    with torch.no_grad():
        theirs, ours = example.lens(example.read), example.lm.model(example.read).logits
        processed = example.transformer_lens(processed=True)(example.read)
    said = close(ours, theirs, f"logits of an unprocessed {type(example.lens).__name__}")
    constant = (processed - ours).mean(dim=-1, keepdim=True)
    assert constant.abs().max() > 0.1, "nothing was processed"
    close(ours + constant, processed, "logits but for a constant a position")
    return f"{said}; processed ones but for a constant a position"


@row("TransformerLens", "`HookedTransformer.from_pretrained(name, hf_model=model)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    made = ec.wrap(example.lm.model, example.lm.tokenizer)
    assert made.model is example.lm.model
    return "wrap keeps the model itself"


@row("TransformerLens", "`model.to_tokens(text)`")
def _(example: Example) -> str:
    theirs = example.lens.to_tokens(example.prompt, prepend_bos=False)[0].tolist()
    longer = example.lens.to_tokens(example.prompt)[0].tolist()
    said = same(example.generation.prompt_ids, theirs, "ids with `prepend_bos=False`")
    return f"{said}; {len(longer) - len(theirs)} more by default"


@row("TransformerLens", "`model.generate(text, max_new_tokens=20)`")
def _(example: Example) -> str:
    import torch

    import ecco_captum as ec

    ours = ec.generate(example.lm, example.prompt, max_new_tokens=20)
    options: dict[str, Any] = {"max_new_tokens": 20, "do_sample": False, "verbose": False}
    theirs = example.lens.generate(torch.tensor(ours.prompt_ids[None]), **options)
    return same(ours.tokens.ids, theirs[0].tolist(), "tokens with `do_sample=False`")


@row("TransformerLens", '`model(tokens, return_type="loss", loss_per_token=True)`')
def _(example: Example) -> str:
    import torch

    whole = torch.tensor(example.generation.tokens.ids[None])
    with torch.no_grad():
        losses = example.lens(whole, return_type="loss", loss_per_token=True)[0]
    theirs = -losses[-len(example.generation.output_ids) :]
    return close(example.generation.logprobs, theirs, "log-probabilities")


@row("TransformerLens", "`model.run_with_cache(text)`")
def _(example: Example) -> str:
    import ecco_captum as ec

    ours = ec.neurons(example.lm, example.read, layers=[3]).values[0]
    return close(ours, example.cache["blocks.3.mlp.hook_post"][0], "neurons of a gated layer")


@row("TransformerLens", '`cache["blocks.3.hook_resid_post"]`')
def _(example: Example) -> str:
    import ecco_captum as ec

    ours = ec.hidden_states(example.lm, example.read, layers=[4]).values[0]
    return close(ours, example.cache["blocks.3.hook_resid_post"][0], "hidden states")


def lens_logits(example: Example) -> Any:
    """TransformerLens' logit lens: (1 + blocks, outputs, vocabulary)."""
    import torch

    with torch.no_grad():
        stack = example.cache.accumulated_resid(apply_ln=True)[:, 0]
        logits = example.lens.unembed(stack)
    return logits[:, -len(example.generation.output_ids) :]


@row("TransformerLens", "`cache.accumulated_resid(apply_ln=True)` and `model.unembed`")
def _(example: Example) -> str:
    import torch

    import ecco_captum as ec

    logits = lens_logits(example)
    targets = torch.tensor(example.generation.output_ids)[None, :, None].expand(len(logits), -1, 1)
    theirs = logits.gather(-1, targets)[..., 0]
    ours = ec.rankings(example.lm, example.generation, control=False)
    return close(ours.logits, theirs, "logits of every layer")


@row("TransformerLens", "the same for chosen tokens")
def _(example: Example) -> str:
    import ecco_captum as ec

    watched = ec.rankings_watch(example.lm, example.generation.tokens.ids[:-1], [" is", " are"])
    theirs = lens_logits(example)[:, -1, watched.watch_ids.tolist()]
    return close(watched.logits, theirs, "logits of every layer")


@row("TransformerLens", "`cache.logit_attrs(...)`")
def _(example: Example) -> str:
    parts = example.cache.decompose_resid(return_labels=False)
    assert example.cache.logit_attrs(parts, example.read[0, -1]).shape[0] == len(parts)
    return "TransformerLens has it"


@row(
    "TransformerLens",
    '`model.run_with_hooks(tokens, fwd_hooks=[("blocks.3.mlp.hook_post", zero)])`',
)
def _(example: Example) -> str:
    import torch

    import ecco_captum as ec

    chosen = list(range(0, 1500, 3))  # many, so that it matters

    def zero(values: Any, hook: Any) -> Any:
        values[..., chosen] = 0
        return values

    hooks = [("blocks.3.mlp.hook_post", zero)]
    with torch.no_grad():
        before = example.lm.model(example.read).logits
        theirs = example.lens.run_with_hooks(example.read, fwd_hooks=hooks)
        with ec.ablate(example.lm, neurons={3: chosen}):
            ours = example.lm.model(example.read).logits
    assert (ours - before).abs().max() > 0.1, "nothing changed"
    return close(ours, theirs, "logits without the neurons")


@row("TransformerLens", '`cache["blocks.3.attn.hook_pattern"]`')
def _(example: Example) -> str:
    import ecco_captum as ec

    blocks = len(example.lm.anatomy.blocks)
    patterns = [example.cache[f"blocks.{k}.attn.hook_pattern"][0] for k in range(blocks)]
    mean = sum(pattern.mean(dim=0) for pattern in patterns) / blocks
    theirs = mean[-len(example.generation.output_ids) :]
    ours = ec.saliency(example.lm, example.generation, method="attention")
    return close(example.rows(ours.scores), example.rows(theirs), "means over layers and heads")


@row("TransformerLens", "`transformer_lens.patching`")
def _(example: Example) -> str:
    from transformer_lens import patching

    assert hasattr(patching, "get_act_patch_resid_pre")
    return "TransformerLens has it"
