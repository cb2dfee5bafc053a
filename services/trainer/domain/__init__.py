"""What the trainer decides, apart from everything it touches."""
