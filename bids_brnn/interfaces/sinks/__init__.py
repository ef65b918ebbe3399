"""Nipype interfaces that write the derivative data set. Nothing else writes there."""
