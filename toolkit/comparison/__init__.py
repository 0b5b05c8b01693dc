"""Comparisons: many methods on many tasks with several seeds, run, resumed, tested and reported."""
