"""Of the words that are t tokens in one model, how many have more tokens in another? From tokenizers alone.

FUSE's maps by target count are fitted on all words of t target tokens together; see docs/known_truth.md.

    python benchmarks/one_token_words.py FOLDER_OF_SOURCE FOLDER_OF_TARGET
"""

import sys
from collections import Counter

from transformers import AutoTokenizer

from fuse_repro.alignment.words import WordTokenizer
from fuse_repro.data.corpora import WordfreqCorpus

EVERY, LONGEST = 10, 4  # words of the corpus that are taken; tokens per word that maps are fitted for


def main(folders: list[str]) -> None:
    """Print a line for every number of target tokens."""
    if len(folders) != 2:
        sys.exit("give two folders with a tokenizer each: the source's and the target's")
    source, target = (WordTokenizer(AutoTokenizer.from_pretrained(folder)) for folder in folders)
    words = WordfreqCorpus().words()[::EVERY]
    pairs = zip(source.word_ids(words), target.word_ids(words), strict=True)
    counts = Counter((len(s_ids), len(t_ids)) for s_ids, t_ids in pairs)
    for length in range(1, LONGEST + 1):
        own = {s: count for (s, t), count in sorted(counts.items()) if t == length and 0 < s <= LONGEST}
        share = sum(count for s, count in own.items() if s > length) / max(1, sum(own.values()))
        print(f"{length} target tokens: {share:.1%} have more source tokens; words by source tokens: {own}")


if __name__ == "__main__":
    main(sys.argv[1:])
