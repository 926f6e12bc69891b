"""Runs the workflows that messages of a RabbitMQ queue name: ``{"workflow_id": "hello", "params": {"who": "Ada"}}``.

Needs: pip install pika, and the package that ``cdktr sdk python DIR`` writes.
"""

import json
import os
import time

import pika
from cdktr import EventListener, Principal


class RabbitMQListener(EventListener):
    name = "rabbitmq"
    # The queue keeps unacknowledged messages, so triggers need not be buffered on this host's disk.
    buffered = False

    def __init__(
        self,
        rabbitmq_host="localhost",
        rabbitmq_port=5672,
        queue_name="cdktr-workflows",
        principal_host="localhost",
        principal_port=5561,
    ):
        # Failed messages are redelivered by the queue, so one attempt is enough.
        self.principal = Principal(host=principal_host, port=principal_port, attempts=1)
        self.rabbitmq_host = rabbitmq_host
        self.rabbitmq_port = rabbitmq_port
        self.queue_name = queue_name

    def handle_message(self, ch, method, properties, body):
        """Callback for each RabbitMQ message"""
        try:
            message = json.loads(body)
            workflow_id = message["workflow_id"]
            params = message.get("params")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # It can never succeed: if requeued, it would be redelivered forever.
            print(f"Not a trigger, dropped: {error!r}", flush=True)
            ch.basic_nack(delivery_tag=method.delivery_tag, requeue=False)
            return
        # RabbitMQ delivers at least once; with the message's id as the key it is still one run.
        result = self.run_workflow(workflow_id, params=params, dedupe_key=properties.message_id)
        if result.success:
            ch.basic_ack(delivery_tag=method.delivery_tag)
        elif self.principal.ping().success:
            print(f"Refused, dropped: {result.error}", flush=True)
            ch.basic_nack(delivery_tag=method.delivery_tag, requeue=False)
        else:
            print(f"The principal is away: {result.error}", flush=True)
            time.sleep(1)
            ch.basic_nack(delivery_tag=method.delivery_tag, requeue=True)

    def start_listening(self):
        """Start consuming from RabbitMQ"""
        connection = pika.BlockingConnection(
            pika.ConnectionParameters(host=self.rabbitmq_host, port=self.rabbitmq_port)
        )
        channel = connection.channel()
        channel.queue_declare(queue=self.queue_name, durable=True)
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue=self.queue_name, on_message_callback=self.handle_message)
        print(f"Listening for workflow triggers on queue: {self.queue_name}", flush=True)
        channel.start_consuming()


if __name__ == "__main__":
    listener = RabbitMQListener(
        rabbitmq_host=os.environ.get("RABBITMQ_HOST", "localhost"),
        rabbitmq_port=int(os.environ.get("RABBITMQ_PORT", "5672")),
        principal_host=os.environ.get("CDKTR_PRINCIPAL_HOST", "localhost"),
        principal_port=int(os.environ.get("CDKTR_PRINCIPAL_PORT", "5561")),
    )
    listener.start_listening()
