"""A server that demands CURVE and answers PING, and clients with and without the right keys."""

import threading

import zmq

from cdktr import Principal

server_public, server_secret = (key.decode() for key in zmq.curve_keypair())
public, secret = (key.decode() for key in zmq.curve_keypair())
other, _ = (key.decode() for key in zmq.curve_keypair())

router = zmq.Context.instance().socket(zmq.ROUTER)
router.linger = 0
router.curve_server = True
router.curve_secretkey = server_secret.encode()
port = router.bind_to_random_port("tcp://127.0.0.1")


def serve():
    while True:
        *envelope, frame = router.recv_multipart()
        assert frame == b"PING"
        router.send_multipart([*envelope, b"PONG"])


threading.Thread(target=serve, daemon=True).start()


def ping(**keys):
    return Principal("127.0.0.1", port, timeout=keys.pop("timeout", 0.3), attempts=1, **keys).ping().success


print("known", ping(timeout=10, server_key=server_public, public_key=public, secret_key=secret))
print("wrong server key", ping(server_key=other, public_key=public, secret_key=secret))
print("no keys", ping())
try:
    Principal(server_key=server_public)
except ValueError as error:
    print("incomplete", type(error).__name__)
