"""Signal models with one pool of spins: FISP by extended phase graphs, balanced SSFP."""
