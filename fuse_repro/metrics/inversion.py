"""How much of a text a prompt that was searched for it gives back."""

from collections.abc import Sequence

from torchmetrics.text import SQuAD

from fuse_repro.errors import require


def inversion_metrics(found: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean word F1 and exact match, in percent, against the nearest of every prompt's target texts.

    As for SQuAD (Rajpurkar et al. 2016), by torchmetrics: case, punctuation and articles do not count.

    Args:
        found: one prompt per item.
        targets: the target texts of every item.

    Raises:
        UsageError: no prompt, or unequal numbers of prompts and targets.
    """
    require(len(found) > 0, "prompts", list(found), "at least one")
    same = f"as many as prompts ({len(found)})"
    require(len(found) == len(targets), "number of targets", len(targets), same)
    metric = SQuAD()
    predictions = [{"id": str(row), "prediction_text": text} for row, text in enumerate(found)]
    answers = [
        {"id": str(row), "answers": {"text": list(texts), "answer_start": [0] * len(texts)}}
        for row, texts in enumerate(targets)
    ]
    scores = metric(predictions, answers)
    return {"word_F1": float(scores["f1"]), "exact_match": float(scores["exact_match"])}
