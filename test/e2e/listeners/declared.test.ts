import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { type Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { runsBy, whoOf } from "./support.ts";

const SECRET = "It's a secret to everybody";

let cluster: Cluster;
let port = 0;
/** A request that was begun in one test; what came of it is seen in the last. */
let unfinished: Promise<string> | undefined;
const directory = new TemporaryDirectory();

function workflow(on: string, params: string[] = []): string {
  const declared = params.length === 0 ? "" : `params:\n${params.map((name) => `  ${name}: ""\n`).join("")}`;
  return shellWorkflow({ say: { sh: "env | grep ^CDKTR_PARAM_ || true" } }, `${declared}on:\n${on}`);
}

beforeAll(async () => {
  [port = 0] = await freePorts(1);
  writeFileSync(directory.path("secret"), `${SECRET}\n`);
  cluster = await startCluster({
    agents: 1,
    env: { CDKTR_WEBHOOK_PORT: String(port), DEPLOY_SECRET: SECRET },
    workflows: {
      "deploy.yml": workflow("  webhook:\n    path: /deploy\n    secret: env:DEPLOY_SECRET\n", [
        "who",
        "body",
        "headers",
        "delivery_id",
      ]),
      "strict.yml": workflow(
        "  webhook:\n    path: /strict\n    secret: env:DEPLOY_SECRET\n    tolerance: 1h\n",
      ),
      "open.yml": workflow("  webhook:\n    path: /open\n    secret: none\n    method: PUT\n", ["query"]),
      "twice.yml": workflow("  webhook: [{path: /once, secret: none}, {path: /twice, secret: none}]\n", [
        "who",
      ]),
      "filed.yml": workflow(`  webhook:\n    path: /filed\n    secret: file:${directory.path("secret")}\n`),
      "unset.yml": workflow("  webhook:\n    path: /unset\n    secret: env:NO_SUCH_SECRET\n"),
      "stern.yml": shellWorkflow(
        { say: { sh: "true" } },
        "params:\n  needed:\non:\n  webhook:\n    path: /stern\n    secret: none\n",
      ),
      "inbox.yml": workflow(
        `  file:\n    glob: ${directory.path("inbox")}/**/*.csv\n    events: [created, changed, deleted]\n    settle: 200ms\n`,
        ["path", "file", "event"],
      ),
      "first.yml": shellWorkflow({ say: { sh: "true" } }),
      "breaks.yml": shellWorkflow({ say: { sh: "exit 1" } }),
      "second.yml": workflow("  workflow:\n    id: first\n", [
        "workflow_id",
        "workflow_instance_id",
        "status",
      ]),
      "alarm.yml": workflow("  workflow:\n    id: breaks\n    status: [FAILED, CRASHED]\n", ["status"]),
    },
  });
  await cluster.principal?.waitFor(/Webhooks are served/);
}, 120_000);

afterAll(async () => {
  await cluster?.stop();
  directory[Symbol.dispose]();
});

const sign = (text: string, secret = SECRET) =>
  `sha256=${createHmac("sha256", secret).update(text).digest("hex")}`;

async function send(
  path: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
  method = "POST",
) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body, headers });
  const json = (await response.json()) as {
    error?: string;
    workflow_instance_id?: string;
    workflow_id?: string;
  };
  return { status: response.status, ...json };
}

function github(body: string, delivery: string, signature = sign(body)) {
  return {
    "Content-Type": "application/json",
    "X-Hub-Signature-256": signature,
    "X-GitHub-Delivery": delivery,
  };
}

test("GitHub's signature: a good one is a run with body and headers, a delivery that is repeated the same run", async () => {
  const body = JSON.stringify({ who: "octocat", more: [1] });
  const first = await send("/deploy", body, { ...github(body, "d-1"), Authorization: "Bearer x" });
  expect(first).toMatchObject({ status: 202, workflow_id: "deploy" });
  expect(await send("/deploy", body, github(body, "d-1"))).toEqual(first);
  const run = await runOver(cluster.client, first.workflow_instance_id ?? "");
  expect([run.status, run.trigger]).toEqual(["COMPLETED", "listener:webhook"]);
  expect(run.params).toMatchObject({ who: "octocat", body, delivery_id: "d-1" });
  const headers = JSON.parse(run.params.headers ?? "{}");
  expect(headers["x-github-delivery"]).toBe("d-1");
  expect(Object.keys(headers)).not.toContain("authorization");
  expect(Object.keys(headers)).not.toContain("x-hub-signature-256");

  const replay = async () => {
    const other = github(body, "d-2");
    expect(await send("/deploy", body, other)).toMatchObject({ status: 409 });
    const signature = sign(body).toUpperCase().replace("SHA", "sha");
    expect(await send("/deploy", body, github(body, "d-3", signature))).toMatchObject({ status: 409 });
    expect(await send("/deploy", body, github(body, "d-1"))).toEqual(first);
    expect(await runsBy(cluster.client, "listener:webhook")).toHaveLength(1);
  };
  await replay();
  // Neither the listener nor the principal forgets it.
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  await cluster.principal?.waitFor(/Webhooks are served/);
  await replay();
});

test("bad, missing and foreign signatures get nothing but the reason", async () => {
  const before = (await cluster.client.listRuns({ limit: 1000 })).length;
  const body = JSON.stringify({ who: "mallory" });
  const bad = [
    github(body, "x", sign(body, "another secret")),
    github(body, "x", sign(`${body} `)),
    github(body, "x", sign(body).slice(0, -1)),
    github(body, "x", "sha1=0000"),
    github(body, "x", ""),
  ];
  for (const headers of bad) {
    const answer = await send("/deploy", body, headers);
    expect([answer.status, answer.error]).toEqual([403, "X-Hub-Signature-256 does not match the body"]);
  }
  const missing = await send("/deploy", body);
  expect([missing.status, missing.error?.includes("not signed")]).toEqual([401, true]);
  expect((await send("/nowhere", body)).status).toBe(404);
  expect((await send("/deploy", body, github(body, "x"), "PUT")).status).toBe(405);
  expect((await send("/unset", body, github(body, "x"))).status).toBe(503);
  expect((await cluster.client.listRuns({ limit: 1000 })).length).toBe(before);
});

test("the generic signature covers time, delivery and body", async () => {
  const headers = (seconds: number, delivery: string, signed = `${seconds}.${delivery}.hello`) => ({
    "X-Cdktr-Timestamp": String(seconds),
    "X-Cdktr-Delivery": delivery,
    "X-Cdktr-Signature": sign(signed),
  });
  const now = Math.floor(Date.now() / 1000);
  const first = await send("/filed", "hello", headers(now, "g-1"));
  expect(first.status).toBe(202);
  // The sender tries again, later.
  expect(await send("/filed", "hello", headers(now + 1, "g-1"))).toEqual(first);
  expect((await send("/filed", "hello", headers(now, "g-2", `${now}.g-1.hello`))).status).toBe(403);
  expect((await send("/filed", "hullo", headers(now, "g-1"))).status).toBe(403);
  const old = await send("/filed", "hello", headers(now - 3600, "g-3"));
  expect([old.status, old.error]).toEqual([403, "X-Cdktr-Timestamp is not within 300 s of now"]);
  expect((await send("/strict", "hello", headers(now - 3500, "g-4"))).status).toBe(202);
  expect((await send("/strict", "hello", headers(now - 3700, "g-5"))).status).toBe(403);
});

test("oversized and malformed bodies, refused parameters, too many requests", async () => {
  const signed = (body: string) => github(body, crypto.randomUUID());
  const broken = await send("/deploy", "{", signed("{"));
  expect([broken.status, broken.error?.startsWith("the body is not JSON")]).toEqual([400, true]);
  const long = JSON.stringify({ who: "x".repeat(100_000) });
  const tooLong = await send("/deploy", long, signed(long));
  expect([tooLong.status, tooLong.error?.includes("parameter who")]).toEqual([413, true]);
  const bytes = await send("/open", new Uint8Array([0xff, 0xfe]), {}, "PUT");
  expect([bytes.status, bytes.error]).toEqual([400, "the body is not UTF-8"]);
  const huge = await fetch(`http://127.0.0.1:${port}/open`, {
    method: "PUT",
    body: "x".repeat(2 * 1024 * 1024),
  }).then(
    ({ status }) => status,
    () => 413,
  );
  expect(huge).toBe(413);
  const refused = await send("/stern", "");
  expect([refused.status, refused.error?.includes("needed")]).toEqual([422, true]);
  const query = await send("/open?a=1&b=2", "", {}, "PUT");
  const run = await runOver(cluster.client, query.workflow_instance_id ?? "");
  expect(JSON.parse(run.params.query ?? "")).toEqual({ a: "1", b: "2" });

  // However slowly they are sent: more at once than may come at once.
  let refusedOnes = 0;
  await until("a hundred are too many", async () => {
    const flood = await Promise.all(Array.from({ length: 300 }, () => send("/stern", "")));
    refusedOnes += flood.filter(({ status }) => status === 429).length;
    return refusedOnes > 100;
  });
  expect((await send("/open", "", {}, "PUT")).status).toBe(202);
});

test("a workflow may have several webhooks", async () => {
  for (const path of ["/once", "/twice"]) {
    const sent = await send(path, JSON.stringify({ who: path }), { "Content-Type": "application/json" });
    expect(sent).toMatchObject({ status: 202, workflow_id: "twice" });
    const run = await runOver(cluster.client, sent.workflow_instance_id ?? "");
    expect(run.params).toMatchObject({ who: path });
  }
});

test("strangers do not spend a webhook's rate: wrong signatures are no deliveries", async () => {
  const body = JSON.stringify({ who: "octocat" });
  const wrong = github(body, "stranger", sign(body, "another secret"));
  for (let i = 0; i < 5; i++) {
    const flood = await Promise.all(
      Array.from({ length: 100 }, (_, n) => send("/deploy", body, n % 2 === 0 ? wrong : {})),
    );
    expect([...new Set(flood.map(({ status }) => status))].toSorted()).toEqual([401, 403]);
  }
  const right = JSON.stringify({ who: "sender" });
  expect((await send("/deploy", right, github(right, "after-the-flood"))).status).toBe(202);
});

test("after another workflow: once for each run that ended so, also for those that end while the principal restarts", async () => {
  const trigger = async (id: string, key: string) => {
    const { workflow_instance_id } = await cluster.client.runTask(id, { dedupe_key: key });
    return runOver(cluster.client, workflow_instance_id);
  };
  const first = await trigger("first", "first-1");
  await trigger("breaks", "breaks-1");
  const followers = async (count: number) =>
    until(`${count} runs after others`, async () => {
      const runs = await runsBy(cluster.client, "workflow");
      return runs.length >= count && runs;
    });
  const runs = await followers(2);
  const [second] = runs.filter((run) => run.workflow_id === "second");
  expect((await cluster.client.getRun(second?.workflow_instance_id ?? "")).params).toEqual({
    workflow_id: "first",
    workflow_instance_id: first.workflow_instance_id,
    status: "COMPLETED",
  });
  expect(runs.map((run) => run.workflow_id).toSorted()).toEqual(["alarm", "second"]);

  await cluster.client.runTask("first", { dedupe_key: "first-2" });
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  const later = await followers(3);
  expect(later.map((run) => run.workflow_id).toSorted()).toEqual(["alarm", "second", "second"]);
});

test("malformed and malicious requests get an error or are disconnected", async () => {
  const bodiless = await fetch(`http://127.0.0.1:${port}/open`, { method: "HEAD" });
  expect([bodiless.status, bodiless.headers.get("allow"), await bodiless.text()]).toEqual([405, "PUT", ""]);
  const wrong = await fetch(`http://127.0.0.1:${port}/open`);
  expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "PUT"]);

  const line = "PUT /open HTTP/1.1\r\nHost: x\r\n";
  const chunked = `${line}Transfer-Encoding: chunked\r\n\r\n`;
  expect(await raw([`${chunked}5\r\nhello\r\n0\r\n\r\n`])).toMatch(/^HTTP\/1.1 202 .*"buffered":false\}$/s);
  const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
  expect(await raw([chunked, ...Array<string>(20).fill(chunk), "0\r\n\r\n"])).toMatch(/^(HTTP\/1.1 413 |$)/);
  expect(
    await raw([`${line}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n`]),
  ).toMatch(/^HTTP\/1.1 400 /);
  expect(await raw([`${line}Content-Length: -1\r\n\r\n`])).toMatch(/^HTTP\/1.1 400 /);
  unfinished = raw([`${line}Content-Length: 1000\r\n\r\n`, "x"]);
  expect((await send("/open", "", {}, "PUT")).status).toBe(202);
});

/** What the server answers to these bytes until it ends the connection or has answered in full. */
function raw(pieces: readonly string[]): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let answer = "";
  const socket = connect(port, "127.0.0.1");
  const end = () => {
    resolve(answer);
    socket.destroy();
  };
  socket.on("data", (data) => {
    answer += data;
    const [, length, body = ""] = /content-length: (\d+).*?\r\n\r\n(.*)$/is.exec(answer) ?? [];
    if (length === undefined ? answer.endsWith("\r\n\r\n") : body.length >= Number(length)) end();
  });
  socket.on("error", end).on("close", end);
  for (const piece of pieces) socket.write(piece);
  return promise;
}

test("files: a directory that appears later, created, changed by rename, deleted; a burst of 1,000 is one event each", async () => {
  const inbox = directory.path("inbox", "today");
  const events = async () => {
    const runs = (await runsBy(cluster.client, "listener:file")).map((run) => run.workflow_instance_id);
    const details = await Promise.all(runs.map((id) => cluster.client.getRun(id)));
    return details.map(({ params }) => `${params.event} ${params.file}`);
  };
  const after = (count: number) =>
    until(`${count} events`, async () => {
      const found = await events();
      return found.length >= count && found;
    });
  await cluster.principal?.waitFor(/Watching/);
  mkdirSync(inbox, { recursive: true });
  writeFileSync(join(inbox, "a.csv"), "1");
  writeFileSync(join(inbox, "a.txt"), "1");
  expect(await after(1)).toEqual(["created a.csv"]);
  writeFileSync(join(inbox, "new"), "22");
  renameSync(join(inbox, "new"), join(inbox, "a.csv"));
  expect(await after(2)).toEqual(["created a.csv", "changed a.csv"]);
  rmSync(join(inbox, "a.csv"));
  expect((await after(3)).at(-1)).toBe("deleted a.csv");
  const began = performance.now();
  for (let i = 0; i < 1000; i++) writeFileSync(join(inbox, `burst-${i % 10}.csv`), String(i));
  // A file that nobody writes to for so long is at rest, ms.
  const settled = 200;
  const pauses = Math.floor((performance.now() - began) / settled);
  const created = Array.from({ length: 10 }, (_, i) => `created burst-${i}.csv`);
  const all = await until("each is created", async () => {
    const found = (await events()).slice(3);
    return created.every((event) => found.includes(event)) && found;
  });
  expect(all.filter((event) => event.startsWith("created")).toSorted()).toEqual(created);
  expect(all.length - created.length).toBeLessThanOrEqual(created.length * pauses);
});

test("'start listeners' serves them apart; a principal with --no-listeners does not", async () => {
  const [own = 0, metrics = 0, ofPrincipal = 0] = await freePorts(3);
  await using other = await startCluster({
    principalArgs: ["--no-listeners"],
    env: { CDKTR_WEBHOOK_PORT: String(own), CDKTR_METRICS_PORT: String(ofPrincipal) },
    workflows: { "open.yml": workflow("  webhook:\n    path: /open\n    secret: none\n", ["who"]) },
  });
  const url = `http://127.0.0.1:${own}/open`;
  expect(await fetch(url).catch(() => "refused")).toBe("refused");
  const listeners = other.spawn(["start", "listeners", "--metrics-port", String(metrics)]);
  await listeners.waitFor(/Webhooks are served/);
  const post = (who: string) =>
    fetch(url, {
      method: "POST",
      body: JSON.stringify({ who }),
      headers: { "Content-Type": "application/json", "Idempotency-Key": who },
    }).then((response) => response.json());
  expect(await post("a")).toMatchObject({ buffered: false });
  // While the principal is away, requests are safe on disk; and a workflow that comes is served.
  other.principal?.kill("SIGKILL");
  await other.principal?.finished;
  expect(await post("b")).toMatchObject({ buffered: true, workflow_instance_id: null });
  const pages = async (port: number) => {
    const get = (page: string) => fetch(`http://127.0.0.1:${port}/${page}`).then((answer) => answer.text());
    return { health: JSON.parse(await get("healthz")), metrics: await get("metrics") };
  };
  const away = await pages(metrics);
  expect(away.health.status).toBe("ok");
  expect(away.health.listeners).toMatchObject([
    { name: "webhook", state: "running", fired: 2, delivered: 1, buffered: 1 },
  ]);
  expect(away.metrics).toContain('cdktr_listener_buffered{listener="webhook"} 1\n');
  expect(away.metrics).toContain('cdktr_listener_principal_away{listener="webhook"} 1\n');
  await other.startPrincipal();
  await until("both are runs", async () => (await runsBy(other.client, "listener:webhook")).length === 2);
  expect(await whoOf(other.client, await runsBy(other.client, "listener:webhook"))).toEqual(["a", "b"]);
  // The principal hears how its listeners are, and so does whoever asks it.
  const known = async () => {
    const { stdout } = await other.cdktr(["listeners", "list", "--json"]);
    return JSON.parse(stdout) as {
      name: string;
      state: string;
      delivered: number;
      last_trigger_ms: number;
    }[];
  };
  await until("it has reported", async () => (await known())[0]?.delivered === 2);
  expect(await known()).toMatchObject([
    { name: "webhook", state: "running", pid: listeners.pid, fired: 2, failed: 0, buffered: 0 },
  ]);
  expect(Math.abs(((await known())[0]?.last_trigger_ms ?? 0) - Date.now())).toBeLessThan(60_000);
  expect((await pages(ofPrincipal)).metrics).toMatch(
    /^cdktr_listener_delivered_total\{listener="webhook",host="[^"]+",pid="\d+"\} 2$/m,
  );
  other.writeWorkflow("later.yml", workflow("  webhook:\n    path: /later\n    secret: none\n"));
  await until(
    "the new webhook",
    async () => (await fetch(url.replace("open", "later"), { method: "POST" })).status === 202,
  );
  listeners.kill("SIGTERM");
  expect((await listeners.finished).code).toBe(0);
  expect(await known()).toMatchObject([{ name: "webhook", state: "stopped" }]);
});

test("a sender that does not finish its request blocks no others, and is disconnected soon", async () => {
  expect(await unfinished).toBe("");
  expect((await send("/open", "", {}, "PUT")).status).toBe(202);
});
