"""One run of a recipe: its folder, its training stages, its networks, and what it says of faults of the machine."""
