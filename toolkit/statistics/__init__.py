"""Statistics of hidden states, of all layers in one pass: metrics, and the pass that feeds them."""
