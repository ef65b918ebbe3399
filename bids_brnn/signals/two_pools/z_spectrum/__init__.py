"""Conventional qMT: Z-spectra of two pools by the models that are in use."""
