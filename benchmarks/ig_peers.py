r"""What ``saliency.py --method integrated_gradients`` times: one path, 20 steps, for everybody.

The path runs from embeddings of zero to the text's, and the score is the target's logit. Captum's
loop gives each target its own prefix and takes all steps of it as one batch, the fastest of its
settings here.
"""

from __future__ import annotations

import warnings
from typing import Any

from peers import (
    Contestant,
    Definition,
    Meter,
    MethodInput,
    Run,
    Scores,
    prefixes,
    reduced,
    rows_up_to,
)

STEPS = 20


def _ecco_captum(lm: Any) -> Run:
    from ecco_captum import force_decode, saliency

    options = {"method": "integrated_gradients", "n_steps": STEPS, "aggregate": "l2"}
    path: dict[str, Any] = {"baseline": "zero", "keep_first": False}

    def run(case: MethodInput, meter: Meter) -> Scores:
        generation = force_decode(lm, case.prompt_ids, case.output_ids)
        with meter.running(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a large delta
            attribution = saliency(lm, generation, progress=False, **options, **path)
        return Scores(rows_up_to(attribution.scores, len(case.prompt_ids)), case.lengths)

    return run


def _captum(lm: Any) -> Run:
    import torch
    from captum.attr import IntegratedGradients

    lm.model.requires_grad_(False)
    embed = lm.model.get_input_embeddings()

    def forward(embeddings: Any) -> Any:
        output = lm.model(inputs_embeds=embeddings, use_cache=False, logits_to_keep=1)
        return output.logits[:, -1]

    explainer = IntegratedGradients(forward)

    def run(case: MethodInput, meter: Meter) -> Scores:
        rows = []
        with meter.running():
            for ids, target in prefixes(case):
                embeddings = embed(torch.tensor([ids])).detach()
                found = explainer.attribute(embeddings, target=target, n_steps=STEPS)
                rows.append(reduced(found.detach()[0], "L2"))
        return Scores(rows, case.lengths)

    return run


def _inseq(lm: Any) -> Run:
    import inseq

    explainer = inseq.load_model(lm.model, "integrated_gradients", tokenizer=lm.tokenizer)

    def run(case: MethodInput, meter: Meter) -> Scores:
        with meter.running():
            result = explainer.attribute(
                case.prompt,
                case.text,
                attributed_fn="logit",
                n_steps=STEPS,
                internal_batch_size=STEPS,
                show_progress=False,
            )
        found = result.sequence_attributions[0]
        prompt, end = found.attr_pos_start, found.attr_pos_end
        table = found.target_attributions.norm(dim=-1).T
        return Scores(rows_up_to(table, prompt), (prompt, end - prompt))

    return run


IG_CONTESTANTS = {
    "ig-ecco-captum": Contestant("ecco-captum", "ecco_captum", Definition(), _ecco_captum),
    "ig-captum": Contestant("Captum, a loop over targets", "captum", Definition(), _captum),
    "ig-inseq": Contestant("Inseq", "inseq", Definition(), _inseq),
}
