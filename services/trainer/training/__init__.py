"""One attempt at training, as a child process: ``python -m services.trainer.training SPEC.json``.

``protocol`` and ``checkpoints`` are light (no torch) and serve the runner and the control; the rest is the child's own.
"""
