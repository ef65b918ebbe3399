"""Names, sidecars and files of the derivative data set."""
