"""Pulseq files: what a ``.seq`` plays, and the pulse table that says the same to a model."""
