"""Recipes: ``NAME.py`` is an experiment, ``NAME.yaml`` its values."""
