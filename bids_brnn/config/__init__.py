"""What a run is asked to do, and the TOML files that may say it."""
