"""Inversion of voxels: reference fits and networks behind one contract."""
