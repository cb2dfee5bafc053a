"""The program on every machine with devices: it dials out, and starts one child process for each attempt."""
