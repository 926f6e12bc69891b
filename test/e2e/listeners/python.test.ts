import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { skipWithout } from "../../support/debian.ts";
import { PYZMQ } from "../../support/python.ts";
import { runOver, until } from "../support/fixtures.ts";
import { postgresMissing, rabbitMissing, startPostgres, startRabbit } from "./servers.ts";
import { HELLO, Program, PythonListeners, runsBy, whoOf } from "./support.ts";

const noPostgres = await postgresMissing();
const noRabbit = await rabbitMissing();

let cluster: Cluster;
let listeners: PythonListeners;

beforeAll(async () => {
  listeners = await PythonListeners.prepare([
    PYZMQ,
    "flask==3.1.2",
    "pika==1.3.2",
    "psycopg2-binary==2.9.11",
  ]);
  cluster = await startCluster({ agents: 1, workflows: { "hello.yml": HELLO } });
}, 600_000);

afterAll(async () => {
  await cluster?.stop();
  listeners?.[Symbol.dispose]();
});

/** Runs a Python program to its end. */
async function python(program: string, ...args: string[]): Promise<string> {
  await using child = new Program([listeners.python, "-c", program, ...args]);
  if ((await child.child.exited) !== 0) throw new Error(child.output);
  return child.output;
}

test("Flask: a request is a run, its body the parameters, its key makes it one", async () => {
  const [port = 0] = await freePorts(1);
  await using webhook = listeners.start(cluster, "flask_webhook.py", { WEBHOOK_PORT: String(port) });
  await webhook.waitFor(/Running on/);
  const send = (path: string, body?: string, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", body, headers });

  const headers = { "Idempotency-Key": "delivery-1" };
  const answers = await Promise.all(
    Array.from({ length: 5 }, async () => (await send("/trigger/hello", '{"who": "Flask"}', headers)).json()),
  );
  const [first] = answers as { workflow_instance_id: string }[];
  expect(answers).toEqual(
    Array(5).fill({
      status: "triggered",
      workflow: "hello",
      workflow_instance_id: first?.workflow_instance_id,
    }),
  );
  const run = await runOver(cluster.client, first?.workflow_instance_id ?? "");
  expect([run.status, run.trigger, run.params]).toEqual(["COMPLETED", "listener:webhook", { who: "Flask" }]);
  expect((await send("/trigger/hello")).status).toBe(200);
  const unknown = await send("/trigger/helo");
  expect([unknown.status, await unknown.json()]).toEqual([
    500,
    { status: "failed", error: 'There is no workflow "helo": did you mean "hello"?' },
  ]);
  expect((await send("/trigger/hello", "{not json")).status).toBe(400);
  expect((await send("/trigger/hello", "[1]")).status).toBe(400);
});

test.skipIf(skipWithout(noPostgres))(
  "PostgreSQL: a NOTIFY is a run",
  async () => {
    expect(noPostgres).toBeUndefined();
    await using server = await startPostgres();
    const url = `postgresql://postgres@127.0.0.1:${server.port}/postgres`;
    await using listener = listeners.start(cluster, "postgres_notify.py", { DATABASE_URL: url });
    await listener.waitFor(/Listening for notifications/);
    await python(
      `import psycopg2, sys
connection = psycopg2.connect(sys.argv[1])
cursor = connection.cursor()
for workflow in ("hello", "helo", "hello"):
    # Equal notifications of one transaction are one.
    cursor.execute("SELECT pg_notify('workflow_triggers', %s)", [workflow])
    connection.commit()
cursor.execute("NOTIFY workflow_triggers, 'hello'")
connection.rollback()
`,
      url,
    );
    await listener.waitFor(/Refused, dropped: There is no workflow "helo"/);
    const runs = await until("two runs", async () => {
      const found = await runsBy(cluster.client, "listener:postgres");
      return found.length >= 2 && found;
    });
    expect(runs).toHaveLength(2);
    for (const run of runs) {
      expect((await runOver(cluster.client, run.workflow_instance_id)).status).toBe("COMPLETED");
    }
  },
  120_000,
);

test.skipIf(skipWithout(noRabbit))(
  "RabbitMQ: a message is a run, one that is delivered again is the same, one that is no trigger is dropped",
  async () => {
    expect(noRabbit).toBeUndefined();
    await using server = await startRabbit();
    await using own = await startCluster({ workflows: { "hello.yml": HELLO } });
    const environment = { RABBITMQ_HOST: "127.0.0.1", RABBITMQ_PORT: String(server.port) };
    const publish = (...messages: [id: string, body: string][]) =>
      python(
        `import json, pika, sys
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare(queue="cdktr-workflows", durable=True)
for id, body in json.loads(sys.argv[2]):
    channel.basic_publish("", "cdktr-workflows", body, pika.BasicProperties(message_id=id, delivery_mode=2))
connection.close()
`,
        String(server.port),
        JSON.stringify(messages),
      );
    const message = (who: string) => JSON.stringify({ workflow_id: "hello", params: { who } });
    await using listener = listeners.start(own, "rabbitmq.py", environment);
    await listener.waitFor(/Listening for workflow triggers/);
    await publish(
      ["1", message("a")],
      ["1", message("a")],
      ["2", "no trigger"],
      ["3", "[]"],
      ["4", JSON.stringify({ workflow_id: "helo" })],
      ["5", message("b")],
    );
    await until(
      "the messages are runs",
      async () => (await runsBy(own.client, "listener:rabbitmq")).length === 2,
    );
    expect(listener.output.match(/Not a trigger, dropped/g)).toHaveLength(2);
    expect(listener.output).toContain("Refused, dropped: There is no workflow");

    // While the principal is away the queue keeps them.
    own.principal?.kill("SIGKILL");
    await own.principal?.finished;
    await publish(...["c", "d", "e"].map((who): [string, string] => [who, message(who)]));
    await listener.waitFor(/The principal is away/);
    await own.startPrincipal();
    const runs = await until("all are runs", async () => {
      const found = await runsBy(own.client, "listener:rabbitmq");
      return found.length >= 5 && found;
    });
    expect((await whoOf(own.client, runs)).sort()).toEqual(["a", "b", "c", "d", "e"]);
  },
  180_000,
);

test("file watcher: 1,000 files in a moment are 1,000 runs, 1,000 writes to one are few", async () => {
  await using own = await startCluster({ workflows: { "hello.yml": HELLO } });
  const inbox = listeners.path("inbox");
  await using watcher = listeners.start(own, "file_watcher.py", { WATCH_DIRECTORY: inbox });
  await watcher.waitFor(/Watching/);
  // The directory appears later than its watcher.
  mkdirSync(inbox);
  const began = performance.now();
  for (let i = 0; i < 1000; i++) {
    writeFileSync(join(inbox, `file-${i}`), String(i));
    writeFileSync(join(inbox, "busy"), "x".repeat(i));
    // As an editor saves: a new file takes the place of the old one.
    writeFileSync(join(inbox, ".saved.tmp"), String(i));
    renameSync(join(inbox, ".saved.tmp"), join(inbox, "saved"));
  }
  // A file that nobody writes to for so long is at rest, ms.
  const settled = 300;
  const pauses = (performance.now() - began) / settled;
  const names = await until("a run for every file", async () => {
    const runs = await runsBy(own.client, "listener:files");
    const found = runs.length >= 1002 ? await whoOf(own.client, runs) : [];
    return new Set(found).size === 1002 && found;
  });
  expect(names.filter((name) => name.startsWith("file-"))).toHaveLength(1000);
  expect(names.filter((name) => !name.startsWith("file-")).length).toBeLessThan(20 + 2 * pauses);
}, 120_000);

test("300 events over kills of principal and listener: each is one run, in order; what waits is delivered by the next start", async () => {
  const events = 300;
  const file = listeners.path("counts.py");
  const placeFile = listeners.path("place");
  writeFileSync(
    file,
    `import os, sys, threading
from cdktr import EventListener
PLACE, EVENTS = sys.argv[1], int(sys.argv[2])
class Counts(EventListener):
    def start_listening(self):
        # As a reader of a queue does: an event is acknowledged when its trigger is safe, else it comes again.
        start = int(open(PLACE).read()) if os.path.exists(PLACE) else 0
        for i in range(start, EVENTS):
            result = self.run_workflow("hello", params={"who": i}, dedupe_key=f"event-{i}")
            if not result.success: sys.exit(result.error)
            with open(PLACE + ".new", "w") as place: place.write(str(i + 1))
            os.replace(PLACE + ".new", PLACE)
            if result.buffered: print("buffered", i, flush=True)
Counts().start_listening()
print("over", flush=True)
`,
  );
  await using own = await startCluster({ workflows: { "hello.yml": HELLO } });
  const environment = { CDKTR_APP_DATA_DIRECTORY: listeners.path("data") };
  const startIt = () => listeners.start(own, file, environment, [placeFile, String(events)]);
  const place = () => (existsSync(placeFile) ? Number(readFileSync(placeFile, "utf8")) : 0);
  {
    await using listener = startIt();
    await until("100 events", () => place() >= 100);
    own.principal?.kill("SIGKILL");
    await own.principal?.finished;
    await listener.waitFor(/buffered/);
    await until("events while the principal is away", () => place() > 100);
    // Here it is killed, with triggers on its disk.
  }
  await own.startPrincipal();
  await using listener = startIt();
  await listener.waitFor(/over/);
  const runs = await runsBy(own.client, "listener:Counts");
  expect(runs).toHaveLength(events);
  expect((await whoOf(own.client, runs)).map(Number)).toEqual(Array.from({ length: events }, (_, i) => i));
  // The principal heard of it.
  expect((await own.client.call("LSLISTENERS", {})).find(({ name }) => name === "Counts")).toMatchObject({
    state: "stopped",
    buffered: 0,
    failed: 0,
  });
}, 60_000);

test("threads and processes of one listener share the buffer: each trigger becomes one run, and each caller gets its own result", async () => {
  await using own = await startCluster({ workflows: { "hello.yml": HELLO } });
  const file = listeners.path("threads.py");
  writeFileSync(
    file,
    `import os, sys
from concurrent.futures import ThreadPoolExecutor
from cdktr import EventListener
class Many(EventListener):
    def start_listening(self):
        self.run_workflow("hello", dedupe_key="before the fork").unwrap()
        for _ in range(2):
            os.fork()
        with ThreadPoolExecutor(8) as threads:
            run = lambda i: self.run_workflow("hello", dedupe_key=f"event-{i}").unwrap()["workflow_instance_id"]
            ids = list(threads.map(run, range(40)))
        print("ids", " ".join(ids), flush=True)
Many().start_listening()
print("over", flush=True)
`,
  );
  const environment = { CDKTR_APP_DATA_DIRECTORY: listeners.path("shared") };
  await using listener = listeners.start(own, file, environment);
  await until(
    "four processes have their runs",
    () => (listener.output.match(/^ids.*\n/gm) ?? []).length === 4,
    150_000,
  );
  const [first, ...others] = listener.output.match(/^ids.*\n/gm) ?? [];
  expect(others).toEqual([first, first, first].map(String));
  expect(await runsBy(own.client, "listener:Many")).toHaveLength(41);
  await until("all four have ended", () => (listener.output.match(/^over/gm) ?? []).length === 4);
}, 240_000);

test("a listener may fork at any moment: no child waits for a lock that a thread of its parent held", async () => {
  await using own = await startCluster({ workflows: { "hello.yml": HELLO } });
  const file = listeners.path("forks.py");
  writeFileSync(
    file,
    `import os, threading
from cdktr import EventListener
class Forks(EventListener):
    def start_listening(self):
        busy = threading.Event()
        def trigger():
            i = 0
            while not busy.is_set():
                self.run_workflow("hello", dedupe_key=f"parent-{i % 40}").unwrap()
                i += 1
        threads = [threading.Thread(target=trigger) for _ in range(4)]
        for thread in threads:
            thread.start()
        for i in range(40):
            child = os.fork()
            if child == 0:
                self.run_workflow("hello", dedupe_key=f"child-{i}").unwrap()
                os._exit(0)
            os.waitpid(child, 0)
            print("child", i, flush=True)
        busy.set()
        for thread in threads:
            thread.join()
Forks().start_listening()
print("over", flush=True)
`,
  );
  await using listener = listeners.start(own, file, { CDKTR_APP_DATA_DIRECTORY: listeners.path("forks") });
  await until("all children have ended", () => /^over/m.test(listener.output));
  expect(await runsBy(own.client, "listener:Forks")).toHaveLength(80);
}, 60_000);

test("log lines elsewhere: one JSON object a line", async () => {
  await using shipper = listeners.start(cluster, "ship_logs.py", {}, ["hello"]);
  await shipper.waitFor(/subscribed/);
  const { workflow_instance_id } = await cluster.client.runTask("hello", {
    params: { who: "elsewhere" },
    dedupe_key: "elsewhere",
  });
  const [line = ""] = await shipper.waitFor(/\{.*hello elsewhere.*\}/);
  expect(JSON.parse(line)).toMatchObject({
    workflow_id: "hello",
    workflow_instance_id,
    level: "INFO",
    payload: "hello elsewhere",
  });
});
