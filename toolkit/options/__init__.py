"""The options of recipes: read from files and command lines, checked, compared; what they build, and errors in them."""
