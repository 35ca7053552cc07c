"""Where tests keep the data of PostgreSQL servers."""

import os
import shutil
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")
MEMORY_BYTES = 4 << 30


def folder_in_memory() -> Path | None:
    """Return a folder in memory with room for the servers' data, None where there is no such folder.

    Tests make and drop hundreds of databases of hundreds of files each, which takes a disk's file system much longer.
    """
    has_room = MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free >= MEMORY_BYTES
    return MEMORY_FOLDER if has_room and os.access(MEMORY_FOLDER, os.W_OK) else None
