"""Model cards and the weights that ship with the package."""
