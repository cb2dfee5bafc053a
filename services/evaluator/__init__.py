"""The evaluator: proves, on words a model never saw, what training changed."""
