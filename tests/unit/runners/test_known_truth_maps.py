"""Every map against the truth that it assumes, and against one that it does not."""

from collections.abc import Callable, Mapping
from functools import cache

import pytest
import torch
from test_known_truth_pairs import pair

from fuse_repro.adapters import FuseAdapterModule, LookupMap, ProcrustesMap, RidgeMap
from fuse_repro.adapters.base import EmbeddingMap
from fuse_repro.adapters.local import LocalMap
from fuse_repro.adapters.sparse import SparseMap
from fuse_repro.runners.build import Fit
from fuse_repro.runners.known_truth.instrument import answer, ask, prompt_error
from fuse_repro.runners.known_truth.measure import fit_map

EXACT = 1e-4  # the bound; what is left comes from maps kept in single precision
FITS: Mapping[str, Callable[..., EmbeddingMap]] = {
    "fuse": Fit(FuseAdapterModule.fit, max_tokens=3),
    "fuse_pair": Fit(FuseAdapterModule.fit, max_tokens=3, group_by="pair"),
    "permuted": Fit(FuseAdapterModule.fit, max_tokens=3, compat="permute"),
    "ridge": Fit(RidgeMap.fit, ridge=0.0),
    "lookup": Fit(LookupMap.fit, ridge=0.0),
    "sparse": Fit(SparseMap.fit, ridge=0.0, trained_only=False),
    "local": Fit(LocalMap.fit, ridge=0.0, trained_only=False),
    "procrustes": Fit(ProcrustesMap.fit),
}


@cache
def found(truth: str, name: str) -> tuple[dict[tuple[int, int], dict[str, float]], float | None]:
    """Class of words -> errors, and the error of a soft prompt; all words, no noise."""
    made = pair(truth)
    fitted = fit_map(FITS[name], made, made.lexicon.words(30))
    by_place = made.relation.sees_places
    classes = {key: answer(fitted, ask(made, key, 0), by_place) for key in made.lexicon.classes}
    return classes, prompt_error(fitted, made, 0)


@pytest.mark.parametrize(
    ("truth", "name"),
    [
        *(("tokens", name) for name in FITS),  # there all faces of a word of one source token are alike
        *(("places", name) for name in ("fuse", "fuse_pair")),
        *(("sums", name) for name in ("fuse", "fuse_pair")),
        ("coarser", "fuse_pair"),
        *(("means", name) for name in ("ridge", "sparse", "local")),
    ],
)
def test_a_map_is_exact_where_its_assumption_holds(truth: str, name: str) -> None:
    classes, prompt = found(truth, name)
    assert len(classes) >= 3
    for errors in classes.values():
        assert max(errors["map"], errors["gradient"], errors["scores"]) < EXACT
        assert errors["cosine"] > 1 - EXACT
    assert prompt is not None
    assert prompt < EXACT


@pytest.mark.parametrize("truth", ["places", "sums", "coarser"])
@pytest.mark.parametrize("name", ["ridge", "sparse", "local", "lookup"])
def test_maps_of_one_matrix_know_words_of_one_token_alone(truth: str, name: str) -> None:
    """The lookup knows what a candidate is, and not which way an embedding leads."""
    classes, prompt = found(truth, name)
    assert classes[1, 1]["scores"] < EXACT
    if name == "lookup":
        assert classes[1, 1]["gradient"] > 0.1
    else:
        assert prompt is not None
        assert max(prompt, classes[1, 1]["gradient"]) < EXACT
    assert all(errors["gradient"] > 0.1 for (s, t), errors in classes.items() if s != t)


def test_of_sums_a_map_of_one_matrix_gets_the_direction_and_misses_the_length() -> None:
    """It takes every target token for the mean of the source's, so that its gradient is t/s times the right one."""
    classes, _ = found("sums", "ridge")
    for (s, t), errors in classes.items():
        assert errors["gradient"] == pytest.approx(abs(t / s - 1), abs=EXACT)
        assert errors["cosine"] == pytest.approx(1, abs=EXACT)


def test_maps_by_target_count_break_where_a_count_holds_words_of_more_source_tokens() -> None:
    """Then a map has more faces than the word has target tokens, and the equation asks for zeros there."""
    by_target, prompt = found("coarser", "fuse")
    longer = {t for s, t in by_target if s > t}
    assert longer
    for (_, t), errors in by_target.items():
        assert (errors["gradient"] > 0.1) == (t in longer)
    assert prompt is not None
    assert (prompt > 0.1) == (1 in longer)


def test_faces_that_are_not_reversed_are_wrong_from_three_tokens_on() -> None:
    """The published code's transposition: it equals the t-transpose for words of one and two tokens."""
    classes, _ = found("places", "permuted")
    assert {t for _, t in classes} == {1, 2, 3}
    for (_, t), errors in classes.items():
        assert (errors["gradient"] > 0.1) == (t > 2)


def test_a_rotation_is_all_that_procrustes_knows() -> None:
    classes, prompt = found("means", "procrustes")
    assert prompt is not None
    assert min(prompt, classes[1, 1]["gradient"]) > 0.1


def test_noise_moves_a_map_and_few_words_break_it() -> None:
    noisy, exact = pair("sums", 0.1), pair("sums")
    error = answer(fit_map(FITS["fuse"], noisy, noisy.lexicon.words(30)), ask(noisy, (1, 1), 0), False)
    assert 0.01 < error["gradient"] < 0.5
    few = fit_map(FITS["ridge"], exact, exact.lexicon.words(6))
    assert answer(few, ask(exact, (1, 1), 0), False)["gradient"] > 0.3


def test_a_map_without_words_of_one_token_moves_no_prompt() -> None:
    made = pair("sums", target="characters")
    fitted = fit_map(FITS["fuse_pair"], made, made.lexicon.words(30))
    assert prompt_error(fitted, made, 0) is None
    assert answer(fitted, ask(made, (1, 3), 0), False)["gradient"] < EXACT
    with pytest.raises(ValueError, match="share no anchors: no word is one token in both"):
        fit_map(FITS["ridge"], made, made.lexicon.words(30))


def test_what_a_map_says_does_not_depend_on_the_objective() -> None:
    """`map` is the Jacobian itself, so that it is the same for two questions about one class."""
    made = pair("sums")
    fitted = fit_map(FITS["ridge"], made, made.lexicon.words(30))
    first, second = (answer(fitted, ask(made, (1, 2), seed), False) for seed in (0, 1))
    assert first["map"] == pytest.approx(second["map"], rel=1e-9)
    assert not torch.equal(ask(made, (1, 2), 0).gradient, ask(made, (1, 2), 1).gradient)
