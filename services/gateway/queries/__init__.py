"""The gateway's SQL: one function, one statement, in one file for each thing it is about."""
