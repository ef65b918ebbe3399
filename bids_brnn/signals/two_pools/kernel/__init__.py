"""The compiled simulation; its only door is ``run``."""
