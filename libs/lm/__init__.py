"""Language models: which there are, what they read, what they answer and how well they score.

``models``, ``chat`` and ``adapters`` are light (no torch) and serve every service; ``generate`` and ``score``
import torch and belong in the worker processes of the trainer and the evaluator.
"""
