"""Mounts a file system that never answers (FUSE without a server; as NFS without one): hung-mount.py DIR. Ends with its stdin."""

import ctypes
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
place = sys.argv[1].encode()
descriptor = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"hung", place, b"fuse", 0, options):
    raise OSError(ctypes.get_errno(), "mount")
print("mounted", flush=True)
sys.stdin.read()
# Force and detach: everybody who waits gets an error.
libc.umount2(place, 1 | 2)
