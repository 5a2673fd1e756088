"""Studies that were run once, each with its date and what it found; `make bench` runs none of them."""
