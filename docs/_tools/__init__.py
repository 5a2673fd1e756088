"""What docs/conf.py needs: pages that follow from the code, docstrings as pages, and links."""
