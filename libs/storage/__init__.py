"""Objects at rest: files, datasets, checkpoints, adapters and reports, in a folder or in S3.

A key is ``tenant/what/…``; the ``uri`` of a contract is such a key. Everything written
comes back with its size and sha256, and is checked against them when it is read whole.
"""

from libs.storage.store import AWAY, Corrupted, Listed, Storage, StorageFull, Stored, hash_file

__all__ = ["AWAY", "Corrupted", "Listed", "Storage", "StorageFull", "Stored", "hash_file"]
