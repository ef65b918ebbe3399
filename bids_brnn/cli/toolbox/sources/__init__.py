"""The kinds of source of ``brnn import``: from its options to a series."""
