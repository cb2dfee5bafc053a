"""The command line: everything a person does with Woodshed from a terminal, over the HTTP API alone."""
