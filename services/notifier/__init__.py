"""The notifier: tells people how a job ended, on the channels they chose, and keeps what became of each notice."""
