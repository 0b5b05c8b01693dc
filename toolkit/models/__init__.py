"""Networks: load them with a head for a task, find their blocks, and store what compression made of them."""
