"""Language models: which there are, what they read, what they answer and how well they score.

``models``, ``chat`` and ``adapters`` are light (no torch) and serve every service. ``llama``, ``ggufs`` and
``sampling`` need numpy alone: with them the evaluator answers chats. ``generate`` and ``score`` import torch and belong
in the worker processes of the trainer and the evaluator.
"""
