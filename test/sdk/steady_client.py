"""Triggers numbered runs, one after the other, and says so line by line; the principal may come and go."""

import sys

from cdktr import EventListener, Principal


class Counter(EventListener):
    name = "counter"

    def __init__(self, port):
        self.principal = Principal("127.0.0.1", port, timeout=0.5, attempts=120)

    def start_listening(self):
        for i in range(int(sys.argv[2])):
            result = self.run_workflow("hello", dedupe_key=f"event-{i}")
            print(i, result.success, result.error, flush=True)


Counter(int(sys.argv[1])).start_listening()
