"""What a map says of a pair of models, against what is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.alignment.pairs import Alignment, align
from fuse_repro.errors import UsageError
from fuse_repro.runners.known_truth.lexicon import Class
from fuse_repro.runners.known_truth.pair import Pair

TEXTS, WORDS = 8, 3  # texts, and words of each
ROWS, HIDDEN = 8, 16  # rows of a soft prompt, width of the objective


@dataclass(frozen=True)
class Objective:
    """A smooth function of the target's embeddings of a text: sum_h tanh(sum_p E[p] M[p])_h.

    Attributes:
        weights: M, [S_t, d_t, h], a matrix for every place; the same within a word where places are not to count.
    """

    weights: Tensor

    def __call__(self, embeddings: Tensor) -> Tensor:
        """[B, S_t, d_t] -> [B]."""
        return torch.einsum("bpd,pdh->bh", embeddings, self.weights).tanh().sum(1)


def make_objective(pair: Pair, t: int, generator: torch.Generator) -> Objective:
    """An objective for texts of WORDS words of t target tokens; it sees places where the relation does."""
    size = pair.target.embedding_size
    shape = (WORDS, t if pair.relation.sees_places else 1, size, HIDDEN)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64).expand(WORDS, t, size, HIDDEN)
    return Objective(drawn.reshape(-1, size, HIDDEN) / (WORDS * t * size) ** 0.5)


@dataclass(frozen=True)
class Question:
    """Texts of words of one class, an objective, and the right answers.

    Attributes:
        key: s and t, the words' tokens in the source and in the target.
        texts: B of them, of WORDS words, in both tokenizers.
        word: one word of the class, as many times as the sum of its target embeddings has numbers; or, where places
            count, as all of them have.
        embeddings: the source's, [B, S_s, d_s].
        objective: of the target's embeddings.
        gradient: the exact one by the source's embeddings, [B, S_s, d_s].
        jacobian: of a word's target embeddings by its source embeddings, [s, t, d_s, d_t].
        candidates: source tokens that may stand at the second word's first token: those of words that are one token in
            both models, where there are any, and else the first tokens of words of as few tokens as there are.
        scores: the exact first-order change of the objective with each, [B, n].
    """

    key: Class
    texts: Alignment
    word: Alignment
    embeddings: Tensor
    objective: Objective
    gradient: Tensor
    jacobian: Tensor
    candidates: Tensor
    scores: Tensor


def ask(pair: Pair, key: Class, seed: int) -> Question:
    """A question about the words of one class."""
    s, t = key
    generator = torch.Generator().manual_seed(100 * seed + 10 * s + t)
    known = pair.lexicon.classes[key]
    chosen = torch.randint(len(known), (TEXTS, WORDS), generator=generator).tolist()
    texts = [" ".join(known[place].word for place in row) for row in chosen]
    s_ids, t_ids = (
        torch.tensor([[getattr(known[place], side) for place in row] for row in chosen])
        for side in ("source", "target")
    )
    objective = make_objective(pair, t, generator)
    embeddings = pair.source.embed(s_ids).detach()
    jacobian = pair.relation.jacobian(s, t)
    gradient = _exact_gradient(embeddings, pair.target.embed(t_ids).detach(), jacobian, objective)
    whole = next(iter(pair.lexicon.classes.values()))
    candidates = torch.tensor([one.source[0] for one in whole])
    scores = gradient[:, s] @ pair.source.embedding_table()[candidates].T
    units = pair.target.embedding_size * (t if pair.relation.sees_places else 1)
    first = pair.source.embed(torch.tensor([known[0].source])).detach()
    return Question(
        key=key,
        texts=replace(_align(pair, texts), point=embeddings.flatten(1, 2)),
        word=replace(_align(pair, [known[0].word] * units), point=first.expand(units, -1, -1)),
        embeddings=embeddings.flatten(1, 2),
        objective=objective,
        gradient=gradient,
        jacobian=jacobian,
        candidates=candidates,
        scores=scores,
    )


def _align(pair: Pair, texts: Sequence[str]) -> Alignment:
    """The texts in both tokenizers. All maps share it, since tokenizing takes longer than all that maps do."""
    return align(pair.source.tokenizer.split(texts), pair.target.tokenizer.split(texts))


def _exact_gradient(source: Tensor, target: Tensor, jacobian: Tensor, objective: Objective) -> Tensor:
    """By autograd through the known map, at the target's own embeddings.

    Args:
        source: [B, WORDS, s, d_s].
        target: [B, WORDS, t, d_t].
        jacobian: [s, t, d_s, d_t].
        objective: of [B, WORDS t, d_t].

    Returns:
        [B, WORDS s, d_s].
    """
    leaf = source.clone().requires_grad_()
    with torch.enable_grad():
        mapped = torch.einsum("bwad,acdf->bwcf", leaf, jacobian)
        read = target + mapped - mapped.detach()
        (gradient,) = torch.autograd.grad(objective(read.flatten(1, 2)).sum(), leaf)
    return gradient.flatten(1, 2)


def answer(fitted: EmbeddingMap, question: Question, by_place: bool) -> dict[str, float]:
    """How far a map is from the right answers: relative errors `map`, `gradient`, `scores`, and a cosine.

    Args:
        fitted: the map.
        question: about words of one class.
        by_place: whether target tokens of a word count each for itself, or their sum.
    """
    leaf = question.embeddings.clone().requires_grad_()
    with torch.enable_grad():
        embedded = fitted.embed(leaf, question.texts)
        value = question.objective(embedded).sum()
        by_target, by_source = torch.autograd.grad(value, [embedded, leaf])
    with torch.no_grad():
        position = question.key[0]  # of the second word's first token
        pulled = fitted.pull_tokens(by_target, question.texts, [position])[:, 0]
        scores = fitted.score_tokens(pulled)[:, question.candidates].double()
        jacobian = fitted_jacobian(fitted, question, by_place)
    exact = question.jacobian if by_place else question.jacobian.sum(1, keepdim=True)
    return {
        "map": relative_error(jacobian, exact),
        "gradient": relative_error(by_source, question.gradient),
        "cosine": float(torch.cosine_similarity(by_source.flatten(), question.gradient.flatten(), dim=0)),
        "scores": relative_error(_centred(scores), _centred(question.scores)),
    }


def fitted_jacobian(fitted: EmbeddingMap, question: Question, by_place: bool) -> Tensor:
    """What a map takes for the Jacobian of a word: [s, t, d_s, d_t]; or of its target tokens' sum, [s, 1, d_s, d_t].

    Every unit gradient is pulled back.
    """
    (s, t), size = question.key, fitted.target.embedding_size
    units = torch.eye(t * size if by_place else size, dtype=torch.float64)
    units = units.view(-1, t, size) if by_place else units.unsqueeze(1).expand(-1, t, -1)
    pulled = fitted.pullback(units, question.word)
    return pulled.view(-1, size, s, pulled.shape[2]).permute(2, 0, 3, 1)


def prompt_error(fitted: EmbeddingMap, pair: Pair, seed: int) -> float | None:
    """How far a moved soft prompt is from the right one; None where the map moves none."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(ROWS, pair.source.embedding_size, generator=generator, dtype=torch.float64)
    try:
        with torch.no_grad():
            moved = fitted.transfer(rows)
    except UsageError:
        return None
    return relative_error(moved, rows @ pair.relation.matrix)


def relative_error(found: Tensor, exact: Tensor) -> float:
    """|found - exact| / |exact|, with the Euclidean norm of all entries."""
    return float((found.double() - exact).norm() / exact.norm())


def _centred(scores: Tensor) -> Tensor:
    return scores - scores.mean(1, keepdim=True)
