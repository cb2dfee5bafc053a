"""What the worker process measures. Only here does the evaluator touch torch."""
