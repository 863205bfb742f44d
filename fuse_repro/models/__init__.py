"""Frozen pretrained models behind one small protocol: causal LM, text encoder, dual encoder."""
