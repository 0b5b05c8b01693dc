"""What a network is worth and what it costs: scores, size, arithmetic, latency, and the report that compares."""
