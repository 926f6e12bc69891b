"""Runs the workflows that PostgreSQL notifications name: ``NOTIFY workflow_triggers, 'hello'``.

Needs: pip install psycopg2-binary, and the package that ``cdktr sdk python DIR`` writes.
"""

import os
import select

import psycopg2
from cdktr import EventListener, Principal
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT


class DatabaseChangeListener(EventListener):
    name = "postgres"

    def __init__(
        self,
        db_connection_string,
        channel_name="workflow_triggers",
        principal_host="localhost",
        principal_port=5561,
    ):
        self.principal = Principal(host=principal_host, port=principal_port)
        self.db_connection_string = db_connection_string
        self.channel_name = channel_name

    def start_listening(self):
        """Listen for PostgreSQL NOTIFY events"""
        conn = psycopg2.connect(self.db_connection_string)
        conn.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        cursor = conn.cursor()
        cursor.execute(f"LISTEN {self.channel_name};")
        print(f"Listening for notifications on channel: {self.channel_name}", flush=True)

        while True:
            if select.select([conn], [], [], 5) == ([], [], []):
                continue
            conn.poll()
            while conn.notifies:
                notify = conn.notifies.pop(0)
                workflow_id = notify.payload
                print(f"Received notification: {workflow_id}", flush=True)
                # PostgreSQL does not keep notifications; the base keeps triggers while the principal is away.
                result = self.run_workflow(workflow_id)
                if not result.success:
                    print(f"Refused, dropped: {result.error}", flush=True)


if __name__ == "__main__":
    listener = DatabaseChangeListener(
        db_connection_string=os.environ.get("DATABASE_URL", "postgresql://user:pass@localhost/mydb"),
        principal_host=os.environ.get("CDKTR_PRINCIPAL_HOST", "localhost"),
        principal_port=int(os.environ.get("CDKTR_PRINCIPAL_PORT", "5561")),
    )
    listener.start_listening()
