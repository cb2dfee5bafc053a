"""The gateway's decisions, pure: no database, no broker, no web framework."""
