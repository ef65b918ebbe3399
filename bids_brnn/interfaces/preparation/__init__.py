"""Nipype interfaces that bring a series to the estimators."""
