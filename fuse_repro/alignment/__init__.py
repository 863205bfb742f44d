"""Words in running text, the words that two tokenizers share, and the pieces of tokens."""
