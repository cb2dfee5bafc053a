"""One room for each service; they meet only in contracts."""
