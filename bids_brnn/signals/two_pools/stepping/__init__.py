"""The readable simulation: through a train, step by step."""
