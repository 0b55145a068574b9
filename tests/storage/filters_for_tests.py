"""Compaction filters that a child process can import: they stand in a module of their own."""

import os
import sys


def drops_values_that_begin_with(key: bytes, value: bytes, data: bytes) -> bool:
    return not value.startswith(data)


def prints_and_reads(key: bytes, value: bytes, data: None) -> bool:
    print("a filter that talks", flush=True)
    os.write(1, b"into the pipe")
    return sys.stdin.read() == "" and key != b"unwanted"


def raises(key: bytes, value: bytes, data: None) -> bool:
    raise LookupError("no such session")


def exits(key: bytes, value: bytes, data: None) -> bool:
    sys.exit(3)


not_a_function = 7
