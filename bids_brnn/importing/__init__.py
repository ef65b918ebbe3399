"""From what other programs write to a BIDS data set: values read within limits, units declared."""
