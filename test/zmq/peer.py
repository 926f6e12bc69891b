"""The other end of every pattern, in another language: pyzmq. argv: role endpoint [arguments].

Roles that bind print their endpoint first. Lines on stdout are what the test waits for.
"""

import sys

import zmq


def say(*words):
    print(*words, flush=True)


def bound(socket, endpoint):
    if endpoint == "bind":
        socket.bind("tcp://127.0.0.1:*")
        say(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    else:
        socket.connect(endpoint)


def reply(socket, _):
    """REP: answers with the same parts, reversed."""
    while True:
        socket.send_multipart(socket.recv_multipart()[::-1])


def request(socket, arguments):
    """REQ: asks `count` questions and prints each answer."""
    for number in range(int(arguments[0])):
        socket.send_multipart([b"question", str(number).encode()])
        say(*(part.decode() for part in socket.recv_multipart()))


def router(socket, _):
    """ROUTER: answers three times to each message, naming the sender."""
    while True:
        identity, *parts = socket.recv_multipart()
        for copy in (b"1", b"2", b"3"):
            socket.send_multipart([identity, copy, identity, *parts])


def dealer(socket, arguments):
    """DEALER: sends `count` messages without waiting, then prints as many answers."""
    for number in range(int(arguments[0])):
        socket.send_multipart([b"", f"from {socket.identity.decode()} {number}".encode()])
    for _ in range(int(arguments[0])):
        say(*(part.decode() for part in socket.recv_multipart()[1:]))


def push(socket, arguments):
    """PUSH: sends `count` numbers, each in two parts."""
    for number in range(int(arguments[0])):
        socket.send_multipart([str(number).encode(), b"x" * (number % 100)])
    sys.stdin.readline()


def pull(socket, arguments):
    """PULL: prints whether `count` messages came in order and whole."""
    good = True
    for number in range(int(arguments[0])):
        first, second = socket.recv_multipart()
        good = good and int(first) == number and second == b"x" * (number % 100)
    say("in order" if good else "not in order")


def pub(socket, _):
    """PUB: publishes each line of stdin, its words as parts."""
    for line in sys.stdin:
        socket.send_multipart([word.encode() for word in line.split()])


def sub(socket, arguments):
    """SUB: prints what comes with one of the prefixes, until `end`."""
    for prefix in arguments:
        socket.subscribe(prefix)
    while True:
        parts = [part.decode() for part in socket.recv_multipart()]
        say(*parts)
        if parts == ["end"]:
            return


def large(socket, arguments):
    """DEALER: sends a part of `size` bytes, prints whether the same came back."""
    part = bytes(range(256)) * (int(arguments[0]) // 256)
    socket.send_multipart([b"", part])
    say("same" if socket.recv_multipart()[-1] == part else "different")


TYPES = {
    "reply": (zmq.REP, reply),
    "request": (zmq.REQ, request),
    "router": (zmq.ROUTER, router),
    "dealer": (zmq.DEALER, dealer),
    "push": (zmq.PUSH, push),
    "pull": (zmq.PULL, pull),
    "pub": (zmq.PUB, pub),
    "sub": (zmq.SUB, sub),
    "large": (zmq.DEALER, large),
}


def main():
    role, endpoint, *arguments = sys.argv[1:]
    keys = [argument[6:] for argument in arguments if argument.startswith("curve:")]
    arguments = [argument for argument in arguments if not argument.startswith("curve:")]
    kind, run = TYPES[role]
    context = zmq.Context()
    socket = context.socket(kind)
    if role == "dealer":
        socket.identity = b"python-dealer"
    if keys:
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = keys[0].encode()
    bound(socket, endpoint)
    run(socket, arguments)
    socket.close()
    context.term()


main()
