"""Trainings described by files: pulse train, prior, network and stages."""
