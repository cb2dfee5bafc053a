"""From an organisation's file to an immutable, leak-checked dataset version."""
