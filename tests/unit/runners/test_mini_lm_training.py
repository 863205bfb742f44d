"""Training mini models: they learn what they read, the same every time, and are found in the cache again."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import composed
from tiny_masked_lms import tiny_lm

from fuse_repro.adapters import RelativePromptTransfer
from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.mini_corpus import MiniCorpus, Statement
from fuse_repro.data.prompt_task import Item, PromptTask
from fuse_repro.errors import UsageError
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.models.mini_lm import MiniLMSettings, teacher_table
from fuse_repro.runners.build import build
from fuse_repro.runners.transfer.mini_lm_training import mini_lm, train
from fuse_repro.tasks import evaluate

PAIRS = {"Peru": "Lima", "France": "Paris", "Japan": "Tokyo", "Chad": "sand", "Kenya": "tea", "Cuba": "salsa"}
STATED = tuple(
    Statement(template.replace("X", subject), answer, ".")
    for subject, answer in PAIRS.items()
    for template in ("X has", "The best of X is", "X and its famous")
)
RUNNING = (Statement("Peru and Japan are far from France .", "", ""),)
TINY = MiniLMSettings(
    words=40, pieces=10, width=16, heads=2, layers=1, embeddings="own", steps=150, batch_size=9, lr=0.02
)


class Reading(MiniCorpus):
    """A corpus of a few statements."""

    def __init__(self) -> None:
        super().__init__(relations=("P36",), cities=1, fillers=1)

    def statements(self) -> tuple[Statement, ...]:
        return STATED + RUNNING

    def answers(self) -> tuple[str, ...]:
        return tuple(PAIRS.values())


def digest(lm: MaskedLM) -> str:
    state = sorted(lm.state_dict().items())
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for _, tensor in state)).hexdigest()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> MaskedLM:
    return mini_lm("mini", Reading(), TINY, cache_dir=tmp_path_factory.mktemp("cache"))


def test_a_checkpoint_that_a_slurm_job_left_here_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"of another model")
    monkeypatch.chdir(tmp_path)
    for name in ("SLURM_NTASKS", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "4")
    train("mini", STATED, Reading().answers(), replace(TINY, steps=1))


def test_the_model_knows_what_it_read(trained: MaskedLM) -> None:
    items = tuple(Item(*pair) for pair in PAIRS.items())
    task = PromptTask("best", tuple(PAIRS.values()), {"train": (), "dev": (), "test": items}, "[X] has [Y] .")
    assert evaluate(trained, task.template, task).accuracy == 1.0
    assert evaluate(trained, "The best of [X] is [Y] .", task).accuracy == 1.0


def test_the_same_settings_give_the_same_weights_whatever_came_before(
    trained: MaskedLM, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    again = mini_lm("mini", Reading(), TINY, cache_dir=tmp_path)
    assert digest(again) == digest(trained)
    assert again.fingerprint == trained.fingerprint
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    other = mini_lm("mini", Reading(), replace(TINY, seed=1), cache_dir=tmp_path)
    assert digest(other) != digest(trained)


def test_a_trained_model_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(TINY, steps=2)
    first = mini_lm("mini", Reading(), quick, cache_dir=tmp_path)

    def fail(*arguments: Any) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr("fuse_repro.runners.transfer.mini_lm_training.train", fail)
    again = mini_lm("mini", Reading(), quick, cache_dir=tmp_path)
    assert digest(again) == digest(first)
    with pytest.raises(AssertionError, match="trained twice"):
        mini_lm("mini", Reading(), replace(quick, lr=0.01), cache_dir=tmp_path)


def test_kept_embeddings_stay_the_teachers() -> None:
    teacher = tiny_lm("bert")
    settings = replace(TINY, embeddings="kept", steps=5)
    model, tokenizer = train("mini", STATED, tuple(PAIRS.values()), settings, teacher)
    table = teacher_table(teacher, WordTokenizer(tokenizer), 16, settings.spread, settings.seed)
    assert torch.equal(model.get_input_embeddings().weight.detach(), table)


def test_a_self_transfer_is_exact(trained: MaskedLM) -> None:
    move = RelativePromptTransfer.fit([trained], trained, ridge=0.0)
    prompt = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(move.transfer(prompt), prompt, atol=1e-4)


def test_a_teacher_is_given_where_one_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need a teacher"):
        mini_lm("mini", Reading(), replace(TINY, embeddings="kept"), cache_dir=tmp_path)
    with pytest.raises(UsageError, match="takes none"):
        mini_lm("mini", Reading(), TINY, teacher=tiny_lm("bert"), cache_dir=tmp_path)


def test_diverging_training_says_so() -> None:
    with pytest.raises(UsageError, match="lower lr"):
        train("mini", STATED, (), replace(TINY, lr=1e30))


@pytest.mark.weights
def test_the_shipped_config_takes_its_embeddings_from_minilm(tmp_path: Path) -> None:
    changes = ["source.settings.steps=1", "source.settings.batch_size=2"]
    config = composed("experiment=mini_lms", *(f"models.{change}" for change in changes))
    node = config.models.source
    teacher = build(node.teacher)
    lm = build(node, teacher=teacher, cache_dir=tmp_path)
    assert lm.embedding_size == 128
    words = lm.tokenizer.word_ids(["France", "Germany", "speak"])
    france, germany, speak = lm.embed(torch.tensor([ids[0] for ids in words]))
    assert (
        torch.cosine_similarity(france, germany, dim=0) > torch.cosine_similarity(france, speak, dim=0) + 0.2
    )
