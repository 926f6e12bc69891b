"""Runs a workflow for every version of every file in a directory, once the file has been quiet for a moment.

Needs the package that ``cdktr sdk python DIR`` writes, and nothing else: it looks at the directory several times a
second, so it works on any file system, also on one that is mounted from elsewhere.
"""

import os
import time

from cdktr import EventListener, Principal


class FileWatcherListener(EventListener):
    name = "files"

    def __init__(self, watch_path, workflow_id, principal_host="localhost", principal_port=5561, settle=0.3):
        self.principal = Principal(host=principal_host, port=principal_port)
        self.watch_path = watch_path
        self.workflow_id = workflow_id
        self.settle = settle

    def versions(self):
        """Each file with a fingerprint that changes when it is written or replaced."""
        try:
            with os.scandir(self.watch_path) as entries:
                for entry in entries:
                    try:
                        if entry.is_file():
                            stat = entry.stat()
                            yield entry.path, (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                    except FileNotFoundError:
                        pass  # Gone between listing and looking.
        except FileNotFoundError:
            pass  # The directory may appear later.

    def start_listening(self):
        """Watch the directory; existing files are not events"""
        done = dict(self.versions())
        pending = {}
        print(f"Watching: {self.watch_path}", flush=True)
        while True:
            now = time.monotonic()
            present = dict(self.versions())
            for path, version in present.items():
                if done.get(path) != version and pending.get(path, (None, 0))[0] != version:
                    pending[path] = (version, now)
            for path, (version, since) in list(pending.items()):
                if present.get(path) != version:
                    del pending[path]  # Changed once more, or deleted.
                elif now - since >= self.settle and self.trigger(path, version):
                    done[path] = version
                    del pending[path]
            time.sleep(0.1)

    def trigger(self, path, version):
        """Whether the version was handled, as a run or on this host's disk; otherwise it is retried."""
        result = self.run_workflow(
            self.workflow_id,
            params={"who": os.path.basename(path)},
            dedupe_key=":".join([path, *map(str, version)]),
        )
        if result.success:
            return True
        print(f"{path}: {result.error}", flush=True)
        return self.principal.ping().success


if __name__ == "__main__":
    listener = FileWatcherListener(
        watch_path=os.environ.get("WATCH_DIRECTORY", "inbox"),
        workflow_id=os.environ.get("WORKFLOW", "hello"),
        principal_host=os.environ.get("CDKTR_PRINCIPAL_HOST", "localhost"),
        principal_port=int(os.environ.get("CDKTR_PRINCIPAL_PORT", "5561")),
    )
    listener.start_listening()
