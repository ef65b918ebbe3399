"""Dictionary matching in a subspace, refined between the atoms."""
