"""What the services tell and ask each other: the only thing they share.

Every fact and question is a frozen msgspec struct in one of these files, one
aggregate a file; :mod:`contracts.catalogue` lists them all with their owner and
readers. This package needs msgspec and nothing else.
"""
