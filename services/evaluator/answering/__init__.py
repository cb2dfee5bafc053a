"""The process that answers questions to finished models; models live here, not in the service."""
