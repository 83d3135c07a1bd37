from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from charrnn.model.device import keep_freed_memory

LIBC: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
LARGE = 1 << 27  # bytes: glibc maps every piece above 32 MiB by itself, until it is told not to


class Memory(ctypes.Structure):
    """What mallinfo2(3) tells; `hblks` counts the pieces that are mapped by themselves."""

    _fields_ = (
        ("before", ctypes.c_size_t * 3),
        ("hblks", ctypes.c_size_t),
        ("behind", ctypes.c_size_t * 6),
    )


@pytest.mark.skipif(not hasattr(LIBC, "mallinfo2"), reason="only glibc gives large pieces back")
def test_large_pieces_are_not_given_back_to_the_system() -> None:
    LIBC.mallinfo2.restype = Memory
    LIBC.malloc.restype, LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    LIBC.free.argtypes = [ctypes.c_void_p]

    keep_freed_memory()

    mapped = LIBC.mallinfo2().hblks
    piece = LIBC.malloc(LARGE)
    try:
        assert piece
        assert LIBC.mallinfo2().hblks == mapped
    finally:
        LIBC.free(piece)
