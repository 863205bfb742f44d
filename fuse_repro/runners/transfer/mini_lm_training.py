"""Mini masked language models, trained here in minutes and kept in the cache."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import BertForMaskedLM, PreTrainedTokenizerFast

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.masked_sentences import IGNORED, Items, batches, encode, hide
from fuse_repro.data.mini_corpus import MiniCorpus, Statement, digest
from fuse_repro.errors import UsageError, require
from fuse_repro.models.base import FrozenModel
from fuse_repro.models.masked_lm import MaskedLM
from fuse_repro.models.mini_lm import MiniLMSettings, teacher_table, untrained
from fuse_repro.models.mini_tokenizer import count_words, make_tokenizer
from fuse_repro.progress import bar
from fuse_repro.quiet import quiet_lightning
from fuse_repro.runners.trainer import alone
from fuse_repro.storage.files import writing
from fuse_repro.storage.tensors import CACHE
from fuse_repro.weights.cache import cached
from fuse_repro.weights.convert import quiet_transformers

FORMAT = 1


def mini_lm(
    name: str,
    corpus: MiniCorpus,
    settings: MiniLMSettings,
    *,
    teacher: FrozenModel | None = None,
    dtype: str = "float32",
    cache_dir: str | Path | None = None,
) -> MaskedLM:
    """The trained model, found in the cache under a key of everything that it depends on, or trained now.

    Args:
        name: for messages and records.
        corpus: what it reads.
        settings: what it is.
        teacher: whose embeddings it starts from; needed unless settings.embeddings is `own`.
        dtype: `float32`, `bfloat16` or `float16`, of the model given; it is trained in float32.
        cache_dir: see `fuse_repro.weights.cache_folder`.

    Raises:
        UsageError: settings or a corpus that cannot be used, a missing teacher, training that diverges, or an
            unwritable cache.
    """
    wanted = settings.embeddings != "own"
    require(
        wanted == (teacher is not None), f"{name}.teacher", teacher and teacher.name, _teacher_hint(wanted)
    )
    statements = corpus.statements()
    spec = {
        "kind": "mini masked language model",
        "format": FORMAT,
        "settings": asdict(settings),
        "statements": digest(statements),
        "whole": corpus.answers(),
        "teacher": None if teacher is None else teacher.fingerprint,
    }

    def build(folder: Path) -> None:
        model, tokenizer = train(name, statements, corpus.answers(), settings, teacher)
        with quiet_transformers(), writing(folder, CACHE):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

    entry = cached(cache_dir, name, spec, "trained here", build)
    return MaskedLM.load(name, "path", dtype=dtype, path=entry.directory)


def _teacher_hint(wanted: bool) -> str:
    return "embeddings=start and kept need a teacher" if wanted else "embeddings=own takes none: null"


def train(
    name: str,
    statements: Sequence[Statement],
    whole: Sequence[str],
    settings: MiniLMSettings,
    teacher: FrozenModel | None = None,
) -> tuple[BertForMaskedLM, PreTrainedTokenizerFast]:
    """Train on these statements, on one core of the CPU: the same settings give the same weights.

    `whole` are words that are one token in any case. Raises UsageError where training diverges.
    """
    counts = count_words(statement.text for statement in statements)
    tokenizer = make_tokenizer(settings.tokenizer, counts, whole, settings.words, settings.pieces)
    words = WordTokenizer(tokenizer)
    table = None
    if teacher is not None:
        table = teacher_table(teacher, words, settings.width, settings.spread, settings.seed)
    items = encode(words, tokenizer.mask_token_id, statements)
    module = MiniLMModule(untrained(settings, tokenizer, table), items, settings)
    training = bar(f"training {name} (once)", settings.steps)
    with one_thread(), quiet_lightning(), empty_folder() as folder, training as module.advance:
        trainer = pl.Trainer(
            default_root_dir=folder,
            accelerator="cpu",
            devices=1,
            max_steps=settings.steps,
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=alone(),
        )
        trainer.fit(module)
    return module.model.eval(), tokenizer


def empty_folder() -> tempfile.TemporaryDirectory[str]:
    """Where Lightning looks for a checkpoint that a Slurm job left; the working directory may hold one."""
    return tempfile.TemporaryDirectory(prefix="fuse_repro_training_")


class MiniLMModule(pl.LightningModule):
    """Masked language modelling: cross-entropy at the hidden tokens, in nats."""

    def __init__(self, model: BertForMaskedLM, items: Items, settings: MiniLMSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.losses: list[float] = []
        self.advance: Callable[[float], None] = lambda steps: None
        self._items = items
        self._draw = torch.Generator().manual_seed(settings.seed)

    def training_step(self, numbers: Tensor, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the hidden tokens."""
        ids, labels, mask = hide(self._items, numbers, self._draw)
        hidden = self.model.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        chosen = labels != IGNORED
        loss = cross_entropy(self.model.cls(hidden[chosen]), labels[chosen])
        if not torch.isfinite(loss):
            raise UsageError(f"training diverged (loss {loss.item()}): lower lr={self.settings.lr}")
        self.losses.append(loss.item())
        self.advance(1.0)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and decay."""
        settings = self.settings
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=0.01, fused=True)
        rising = math.ceil(0.05 * settings.steps)

        def scale(step: int) -> float:
            return min((step + 1) / (rising + 1), (settings.steps - step) / (settings.steps - rising + 1))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        """Batches of item numbers, of similar length; as many as there are steps."""
        own = torch.Generator()  # or the loader would draw on the global one
        size, steps = self.settings.batch_size, self.settings.steps
        numbers: Any = list(batches(self._items.lengths, size, steps, self._draw))
        return DataLoader(numbers, batch_size=None, generator=own)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: sums round alike whatever the number of cores, and small matrices gain nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
