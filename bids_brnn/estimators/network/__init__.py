"""The bias-reduced neural network as an estimator."""
