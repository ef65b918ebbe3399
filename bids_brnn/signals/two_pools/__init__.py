"""The generalized Bloch model of magnetization transfer between two pools."""
