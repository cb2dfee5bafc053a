"""The import itself, in a process of its own: reads one file in, lays a version out in a folder.

It has no database, no bus and no storage: files in, files out, progress on standard
output. A file that kills it kills nothing else. ``run.py`` is the story to read first.
"""
