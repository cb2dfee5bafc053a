"""The process that answers questions to finished models; torch lives here, not in the service."""
