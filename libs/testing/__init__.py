"""Real servers for tests, started in milliseconds, and helpers to tell and hear facts."""
