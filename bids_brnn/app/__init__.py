"""The BIDS App behind the command: what a run does at each level, its folders and its ending."""
