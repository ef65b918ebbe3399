"""Nipype interfaces of regions: labels, statistics, agreement."""
