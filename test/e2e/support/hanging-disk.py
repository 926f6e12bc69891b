"""
A disk of this machine that can hang: an ext4 file system on a loop device, whose file is served by this process (FUSE).
hanging-disk.py IMAGE DIR POINT: mounts IMAGE at POINT by way of DIR, and prints "mounted". Commands on its stdin, each answered with a line:
"hang" (nothing is read or written any more), "go on". Ends with its stdin.
"""

import ctypes
import errno
import os
import struct
import subprocess
import sys
import threading

image, place, point = sys.argv[1:]
data = bytearray(open(image, "rb").read())
libc = ctypes.CDLL(None, use_errno=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"disk", place.encode(), b"fuse", 0, options):
    raise OSError(ctypes.get_errno(), "mount")

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 1, 2, 3, 4, 14, 15, 16, 17, 18, 20
FLUSH, INIT, INTERRUPT, BATCH_FORGET = 25, 26, 36, 42
FILE = 2


def attributes(node):
    is_file = node == FILE
    mode = 0o100600 if is_file else 0o40700
    size = len(data) if is_file else 0
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode, node, body):
    """The reply: bytes, or an errno."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHI", 7, 31, 0, 0, 16, 12, 131072, 1, 32, 0, 0) + bytes(24)
    if opcode == LOOKUP:
        if body.rstrip(b"\0") != b"disk":
            return errno.ENOENT
        return struct.pack("<QQQQII", FILE, 0, 3600, 3600, 0, 0) + attributes(FILE)
    if opcode in (GETATTR, SETATTR):
        return struct.pack("<QII", 3600, 0, 0) + attributes(node)
    if opcode == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    if opcode == READ:
        offset, size = struct.unpack_from("<QI", body, 8)
        return bytes(data[offset : offset + size])
    if opcode == WRITE:
        offset, size = struct.unpack_from("<QI", body, 8)
        data[offset : offset + size] = body[40 : 40 + size]
        return struct.pack("<II", size, 0)
    if opcode == STATFS:
        return struct.pack("<QQQQQIIII", 1, 1, 1, 2, 1, 4096, 255, 4096, 0) + bytes(24)
    return b"" if opcode in (RELEASE, FSYNC, FLUSH) else errno.ENOSYS


goes = threading.Event()
goes.set()


def serve():
    while True:
        try:
            request = os.read(fuse, 1 << 20)
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        goes.wait()
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        reply = answer(opcode, node, request[40:])
        error, body = (-reply, b"") if isinstance(reply, int) else (0, reply)
        try:
            os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError:
            pass


threading.Thread(target=serve, daemon=True).start()
device = subprocess.run(
    ["losetup", "--find", "--show", f"{place}/disk"], check=True, capture_output=True, text=True
).stdout.strip()
try:
    subprocess.run(["mount", "-t", "ext4", "-o", "noatime", device, point], check=True)
    os.write(1, b"mounted\n")
    for line in sys.stdin:
        if line.strip() == "hang":
            goes.clear()
            # What the kernel has cached, for example by reading ahead, could be read without the disk.
            with open("/proc/sys/vm/drop_caches", "w") as caches:
                caches.write("3")
        else:
            goes.set()
        os.write(1, line.encode())
finally:
    goes.set()
    libc.umount2(point.encode(), 2)
    subprocess.run(["losetup", "--detach", device])
    libc.umount2(place.encode(), 2)
