"""What the notifier decides, with nothing but its arguments to go by: the words, their dress, and when to try again."""
