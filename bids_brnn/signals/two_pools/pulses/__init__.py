"""What one RF pulse does to the two pools."""
