"""One record per open token and objective: how every prediction ranks the candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fuse_repro.adapters import EmbeddingMap
from fuse_repro.alignment.words import Tokenized
from fuse_repro.data.photo import load_image
from fuse_repro.errors import UsageError, first_line
from fuse_repro.metrics.fidelity import fidelity, spearman
from fuse_repro.models.causal_lm import CausalLM
from fuse_repro.objectives import (
    EmbeddingMatchTerm,
    ImageMatchTerm,
    MultiObjectiveLoss,
    PromptBatch,
    TextMatchTerm,
)
from fuse_repro.runners.fidelity.methods import Combination, Question, estimates, predictions
from fuse_repro.runners.fidelity.prompts import FidelityPrompt
from fuse_repro.search.gradient import OpenPrompt
from fuse_repro.search.linearisation import Linearisation
from fuse_repro.search.problem import PromptProblem

CLASS_SIZE = 30  # candidates that a token-length class needs for a rank correlation of its own
MOST = 3  # tokens that the classes tell apart; the last one stands for more, too


@dataclass(frozen=True)
class Candidates:
    """ids: [n] tokens, a random sample of the `pool` that could be proposed."""

    ids: Tensor
    pool: int


@dataclass(frozen=True)
class Filled:
    """The candidates that survive decode -> encode at one open token: their places in the sample, and whole texts."""

    places: Tensor
    texts: list[str]


@dataclass
class Instrument:
    """Measures objective by objective; every term counts alone, with weight 1.

    maps: role -> name -> map. roles: term -> role. The others are as in the runner's config.
    """

    lm: CausalLM
    objective: MultiObjectiveLoss
    maps: Mapping[str, Mapping[str, EmbeddingMap]]
    roles: Mapping[str, str]
    points: Mapping[str, Linearisation]
    combinations: Mapping[str, Combination]
    baselines: Sequence[str]
    candidates: Candidates
    ks: Sequence[int]
    seed: int

    def __post_init__(self) -> None:
        self._tables: dict[str, Any] = {}

    def objectives(self, prompt: FidelityPrompt) -> list[str]:
        """The terms that the prompt has a target for."""
        terms = self.objective.terms.items()
        return [
            name for name, term in terms if prompt.image is not None or not isinstance(term, ImageMatchTerm)
        ]

    def id(self, prompt: FidelityPrompt, name: str) -> str:
        """The id of the record of a prompt and an objective."""
        return f"{self._pair(name)}/{name}/{prompt.id}"

    def _pair(self, name: str) -> str:
        target = next(iter(self.maps[self.roles[name]].values())).target
        return f"{self.lm.name}->{target.name}"

    def measure(self, prompt: FidelityPrompt, names: Sequence[str]) -> list[dict[str, Any]]:
        """The records of one prompt, for these objectives. What all objectives share is computed once."""
        tokenizer = self.lm.tokenizer
        (before,) = tokenizer.encode([prompt.before])
        state = self.lm.start(torch.tensor([[*tokenizer.prefix_ids, *before]], device=self.lm.device))
        filled = self._fill(prompt, tuple(before))
        classes = self._classes(prompt, filled, names)
        embedded: dict[int, Tensor] = {}
        records = []
        for name in names:
            about = {
                "id": self.id(prompt, name),
                "kind": "fidelity",
                "pair": self._pair(name),
                "objective": name,
                "corpus": prompt.corpus,
                "source": prompt.source,
                "place": prompt.place,
                "length": prompt.length,
                "prompt": f"{prompt.before} _{prompt.after}",
            }
            try:
                measured = self._objective(
                    name, prompt, filled, classes[name], state.log_probs[0].cpu(), embedded
                )
            except UsageError as error:
                measured = {"status": "failed", "error": first_line(error)}
            records.append(about | measured)
        return records

    def _fill(self, prompt: FidelityPrompt, before: tuple[int, ...]) -> Filled:
        """The prompt with every candidate that leaves the other tokens as they are."""
        tokenizer = self.lm.tokenizer
        whole = tokenizer.encode([f"{prompt.before} a{prompt.after}"])[0] if prompt.after else [*before, 0]
        after = tuple(whole[len(before) + 1 :])
        ids = [(*before, token, *after) for token in self.candidates.ids.tolist()]
        texts = tokenizer.decode(ids)
        pairs = zip(ids, tokenizer.encode(texts), strict=True)
        kept = [place for place, (own, back) in enumerate(pairs) if tuple(back) == own]
        return Filled(torch.tensor(kept, dtype=torch.long), [texts[place] for place in kept])

    def _objective(
        self,
        name: str,
        prompt: FidelityPrompt,
        filled: Filled,
        classes: Sequence[str],
        log_probs: Tensor,
        embedded: dict[int, Tensor],
    ) -> dict[str, Any]:
        if len(filled.texts) < 2:
            raise UsageError(
                f"no candidates left: hardly any token survives decode -> encode after {prompt.before!r}"
            )
        term = self.objective.terms[name]
        problem = PromptProblem(
            self.lm, MultiObjectiveLoss({name: term}), prompt.before, self._target(name, term, prompt)
        )
        true = _true(term, PromptBatch(filled.texts, problem.targets), embedded).cpu()
        opened = OpenPrompt(prompt.before, after=prompt.after)
        ids = self.candidates.ids[filled.places]
        known = {
            key: row.cpu()[filled.places]
            for key, row in estimates(problem, opened, self._table(name, term)).items()
        }
        question = Question(problem, opened, log_probs, ids, true, known, self.seed)
        role = self.roles[name]
        predicted = predictions(question, self.maps[role], self.points, self.combinations, self.baselines)
        pool = round(self.candidates.pool * len(ids) / len(self.candidates.ids))
        return {
            "status": "done",
            "candidates": len(ids),
            "pool": pool,
            "true": {"best": float(true.min()), "mean": float(true.mean()), "std": float(true.std())},
            "methods": {
                method: fidelity(values, true, self.ks, pool) | {"classes": _by_class(values, true, classes)}
                for method, values in predicted.items()
            },
        }

    def _target(self, name: str, term: nn.Module, prompt: FidelityPrompt) -> dict[str, Tensor]:
        if isinstance(term, ImageMatchTerm) and prompt.image is not None:
            return {name: term.target(load_image(prompt.image))}
        return {name: term.target(prompt.target_text)} if isinstance(term, TextMatchTerm) else {}

    def _table(self, name: str, term: Any) -> Any:
        if name not in self._tables and hasattr(term, "word_table"):
            self._tables[name] = term.word_table(self.lm, None, self.candidates.ids.tolist())
        return self._tables.get(name)

    def _classes(self, prompt: FidelityPrompt, filled: Filled, names: Sequence[str]) -> dict[str, list[str]]:
        """Source x target tokens of the word that every candidate is part of, per objective."""
        place = len(prompt.before.split())
        own = self.lm.tokenizer.split(filled.texts)
        result = {}
        for name in names:
            target = next(iter(self.maps[self.roles[name]].values())).target
            other = target.tokenizer.split(filled.texts)
            after = len(prompt.after.split())
            result[name] = [
                f"{_count(s, place, after)}x{_count(t, place, after)}"
                for s, t in zip(own, other, strict=True)
            ]
        return result


def _count(text: Tokenized, place: int, after: int) -> str:
    """The number of tokens of the word at the open token: a new one at `place`, else the one before."""
    word = min(place, len(text.words) - 1 - after)
    start, stop = text.spans[word]
    return f"{MOST}+" if stop - start >= MOST else str(stop - start)


def _true(term: nn.Module, batch: PromptBatch, embedded: dict[int, Tensor]) -> Tensor:
    """The term for every text, [n]; terms of one encoder share its embeddings of the texts."""
    with torch.no_grad():
        if not isinstance(term, EmbeddingMatchTerm):
            values: Tensor = term(batch)
            return values
        key = id(term.encoder)
        if key not in embedded:
            embedded[key] = term.embeddings(batch)
        return term.distances(embedded[key], batch)


def _by_class(predicted: Tensor, true: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """Rank correlation within every token-length class that is large enough."""
    result = {}
    for name in sorted(set(classes)):
        chosen = torch.tensor([own == name for own in classes])
        if int(chosen.sum()) >= CLASS_SIZE:
            result[name] = spearman(predicted[chosen], true[chosen])
    return result
