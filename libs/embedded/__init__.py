"""A whole installation on one machine, from wheels: NATS, PostgreSQL and a supervisor.

No Docker, no root, no service running beforehand; as root, PostgreSQL drops to another user.
"""
