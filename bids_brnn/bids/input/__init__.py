"""From a BIDS data set to series with everything that belongs to them."""
