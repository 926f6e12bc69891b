import { afterAll, beforeAll, expect, test } from "bun:test";
import type * as declared from "cdktr";
import { RequestRefusedError } from "../../src/protocol/client.ts";
import * as real from "../../src/sdk/typescript/index.ts";
import { curveKeyPair, Router } from "../../src/zmq/index.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";

// The compiler checks that the hand-written types promise nothing that is not there.
const fits = {
  listener: (it: real.EventListener): declared.EventListener => it,
  principal: (it: real.Principal): declared.Principal => it,
  tail: (it: real.LogTail): declared.LogTail => it,
  error: (it: real.CdktrError): declared.CdktrError => it,
  makePrincipal: real.Principal satisfies new (
    options?: Partial<declared.ClientOptions>,
  ) => declared.Principal,
  names: (name: keyof typeof declared): keyof typeof real => name,
};

let cluster: Cluster;
let principal: real.Principal;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "hello.yml": `name: Hello
params:
  who:
    default: world
tasks:
  say:
    name: Say
    config: !Subprocess
      cmd: sh
      args: ["-c", 'echo "hello $CDKTR_PARAM_WHO"']
`,
    },
  });
  principal = new fits.makePrincipal({
    host: "127.0.0.1",
    port: cluster.ports.api,
    timeoutMs: 10_000,
  }) as real.Principal;
}, 120_000);

afterAll(async () => {
  await principal?.close();
  await cluster?.stop();
});

test("triggers once a key, tails, waits", async () => {
  const tail = await principal.tailLogs("hello");
  const options = { params: { who: "Ada" }, dedupeKey: "once" };
  const first = await principal.runWorkflow("hello", options);
  expect(await principal.runWorkflow("hello", options)).toEqual(first);
  for await (const line of tail) {
    expect(line).toMatchObject({ workflow_id: "hello", payload: "hello Ada", ...first });
    break;
  }
  const run = await principal.wait(first.workflow_instance_id);
  expect({ status: run.status, trigger: run.trigger }).toEqual({ status: "COMPLETED", trigger: "api" });
  const refusal = await principal.runWorkflow("helo").catch((error) => error);
  expect(refusal).toBeInstanceOf(RequestRefusedError);
  const ended = new AbortController();
  const other = await principal.tailLogs(undefined, { signal: ended.signal });
  ended.abort();
  expect(await Array.fromAsync(other)).toEqual([]);
});

test("speaks CURVE with a server that demands it", async () => {
  const server = curveKeyPair();
  const own = curveKeyPair();
  using router = new Router({ linger: 0, curveServer: true, curveSecretKey: server.secretKey });
  await router.bind("tcp://127.0.0.1:*");
  const port = Number(/:(\d+)$/.exec(router.lastEndpoint ?? "")?.[1]);
  const serving = (async () => {
    for await (const parts of router) await router.send([...parts.slice(0, -1), "PONG"]);
  })();
  const known = new real.Principal({
    host: "127.0.0.1",
    port,
    timeoutMs: 10_000,
    curve: { serverKey: server.publicKey, ...own },
  });
  await known.ping();
  const stranger = new real.Principal({ host: "127.0.0.1", port, timeoutMs: 300, attempts: 1 });
  const failure = await stranger.ping().catch((error) => error);
  expect(failure).toBeInstanceOf(real.PrincipalUnreachableError);
  await known.close();
  await stranger.close();
  router.close();
  await serving;
});
