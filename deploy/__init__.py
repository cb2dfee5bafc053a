"""Where the whole is known: provisioning, everything on one machine, and the demonstration."""
