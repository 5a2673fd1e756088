"""Environments of the notebooks, which importing them registers with gymnasium."""
