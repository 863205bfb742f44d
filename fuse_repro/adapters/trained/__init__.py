"""The map that FUSE saves: a small network trained to translate one model's embeddings of words to another's."""
