"""Non-linear least squares with bounds, the complex scale projected out."""
