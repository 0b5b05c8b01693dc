"""Pure functions on weights: what to shrink, what to prune, and when."""
