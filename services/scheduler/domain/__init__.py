"""What the scheduler decides, with nothing but its arguments to go by."""
