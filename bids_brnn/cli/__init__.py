"""The two commands: ``bids_brnn`` (BIDS App) and ``brnn`` (toolbox)."""
