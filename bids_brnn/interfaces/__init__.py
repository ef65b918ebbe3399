"""Nipype interfaces: load, call one function, save."""
