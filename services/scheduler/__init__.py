"""The scheduler: takes a person's wish to train, finds it a device, and says how it ended."""
