"""The gateway: the HTTP API people and programs see, and the read models behind it."""
