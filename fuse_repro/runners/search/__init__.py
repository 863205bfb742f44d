"""Searches of prompts: captions, captions with a sentiment, inversion."""
