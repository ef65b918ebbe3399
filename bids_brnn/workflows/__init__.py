"""Nipype workflows, one screen each."""
