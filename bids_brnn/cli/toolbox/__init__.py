"""``brnn``: one module for each command of the scientist's toolbox."""
