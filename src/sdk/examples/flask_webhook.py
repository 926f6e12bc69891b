"""Runs the workflow that an HTTP request names: ``curl -X POST localhost:8080/trigger/hello -d '{"who": "Ada"}'``.

Needs: pip install flask, and the package that ``cdktr sdk python DIR`` writes.
"""

import os

from cdktr import EventListener, Principal
from flask import Flask, request


class WebhookListener(EventListener):
    name = "webhook"

    def __init__(self, principal_host="localhost", principal_port=5561, port=8080):
        self.principal = Principal(host=principal_host, port=principal_port)
        self.port = port
        self.app = Flask(__name__)
        self.setup_routes()

    def setup_routes(self):
        @self.app.route("/trigger/<workflow_id>", methods=["POST"])
        def trigger_workflow(workflow_id):
            payload = request.get_json(force=True, silent=True)
            if payload is None and request.data:
                return {"status": "failed", "error": "the body is not JSON"}, 400
            if payload is not None and not isinstance(payload, dict):
                return {"status": "failed", "error": "the body must be a JSON object: the run's parameters"}, 400
            # A repeated request has the same key, so it starts only one run.
            key = request.headers.get("Idempotency-Key")
            result = self.run_workflow(workflow_id, params=payload, dedupe_key=key)
            if result.success:
                # While the principal is away, the trigger is safe on this host's disk but not a run yet.
                status = "buffered" if result.buffered else "triggered"
                return {"status": status, "workflow": workflow_id, **result.payload}, 200
            return {"status": "failed", "error": result.error}, 500

    def start_listening(self):
        """Start the Flask webhook server"""
        self.app.run(host="127.0.0.1", port=self.port, threaded=True)


if __name__ == "__main__":
    listener = WebhookListener(
        principal_host=os.environ.get("CDKTR_PRINCIPAL_HOST", "localhost"),
        principal_port=int(os.environ.get("CDKTR_PRINCIPAL_PORT", "5561")),
        port=int(os.environ.get("WEBHOOK_PORT", "8080")),
    )
    listener.start_listening()
