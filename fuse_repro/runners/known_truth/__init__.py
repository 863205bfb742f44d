"""Maps on pairs of made-up models for which the right answer is known."""
