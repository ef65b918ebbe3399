"""Bias and variance of estimators, in units of the Cramér-Rao bound."""
