"""A folder of tiny random models under the names, and of the architectures, of the papers': for `models_dir=FOLDER`."""

from pathlib import Path

from tiny_classifiers import tiny_roberta_classifier
from tiny_masked_lms import tiny_lm
from tiny_models import save_model, tiny_clip

ARCHITECTURES = {
    "gpt2": "gpt2",
    "gpt2_medium": "gpt2",
    "gpt2_large": "gpt2",
    "bert_base": "bert",
    "bert_large": "bert",
    "roberta_base": "roberta",
    "roberta_large": "roberta",
    "albert_base": "albert",
    "albert_large": "albert",
}


def save_recipe_models(folder: Path) -> Path:
    """Write every model that the recipes name."""
    for seed, (name, architecture) in enumerate(ARCHITECTURES.items()):
        save_model(tiny_lm(architecture, seed), folder / name)
    save_model(tiny_clip(), folder / "clip_vit_b32")
    save_model(tiny_roberta_classifier(), folder / "twitter_roberta")
    return folder
