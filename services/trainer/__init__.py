"""Owns devices, leases, runs, attempts, checkpoints and adapters."""
