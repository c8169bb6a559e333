"""Files in and out: instruments, raw frames, headers, exports; no registry, no scheduler."""
