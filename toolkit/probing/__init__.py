"""Linear probes on hidden states, and the rankings, clusters and selections of neurons that follow from them."""
