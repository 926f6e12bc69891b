"""Triggers a workflow whose file is not visible, and another one; ends when nothing is buffered."""

import sys

from cdktr import EventListener, Principal


class Late(EventListener):
    name = "late"

    def __init__(self, port):
        self.principal = Principal("127.0.0.1", port, timeout=10)

    def start_listening(self):
        for i, workflow in enumerate(["late.volume", "hello", "late.volume", "hello"]):
            result = self.run_workflow(workflow, dedupe_key=f"late-{i}")
            print(workflow, result.success, result.buffered, flush=True)


Late(int(sys.argv[1])).start_listening()
