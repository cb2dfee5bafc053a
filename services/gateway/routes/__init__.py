"""The HTTP routes, one file for each thing a client names."""
