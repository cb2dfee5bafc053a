"""What the evaluator decides, purely: which proofs are owed, what their figures mean, what may be said."""
