import { expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ApiCall } from "../../../src/principal/api/api-target.ts";
import { WebhookRelay } from "../../../src/principal/cluster/webhook-relay.ts";
import { until } from "../../support/until.ts";
import { TestPrincipal, workflowText } from "../support.ts";
import { leads, TestMember } from "./members.ts";

test("a webhook that arrives at a member starts a run as if it had arrived at the leader, also when that starts later", async () => {
  await using first = await new TestMember("first").start();
  await using second = await new TestMember("second").start();
  const { door, access, book } = second;
  const relay = new WebhookRelay({ host: "127.0.0.1", port: 0, door, access, log: book.log });
  await relay.start();
  const send = (path: string, init: RequestInit = {}) =>
    fetch(`http://127.0.0.1:${relay.port}${path}`, { method: "POST", ...init });
  const early = send("/open?x=1", { body: "early" });
  const workflows = {
    "open.yml": workflowText({
      top: "params:\n  body: ''\n  headers: ''\n  query: ''\non:\n  webhook:\n    path: /open\n    secret: none",
    }),
  };
  await using principal = new TestPrincipal({
    member: (config) => first.parts(config),
    config: { CDKTR_WEBHOOK_PORT: 0 },
    workflows,
  });
  const secret = "a secret of more than sixteen characters";
  const file = join(principal.directory, "secret");
  writeFileSync(file, secret);
  const on = `on:\n  webhook:\n    path: /signed\n    secret: file:${file}`;
  principal.write("signed.yml", workflowText({ top: on }));
  await principal.start();
  leads(first, first, second);
  // The leader is asked again while it does not know its workflows yet; on a slow machine its sender is.
  expect([202, 503]).toContain((await early).status);
  await until("webhooks are served", async () => (await send("/open")).status === 202);
  const response = await send("/open?x=1", { body: "text", headers: { "X-Of": "a test" } });
  expect(response.status).toBe(202);
  const { workflow_instance_id: id } = (await response.json()) as { workflow_instance_id: string };
  const run = await first.client().getRun(id);
  expect(run.trigger).toBe("listener:webhook");
  expect(run.params).toMatchObject({ body: "text", query: '{"x":"1"}' });
  expect(JSON.parse(run.params.headers ?? "")).toMatchObject({ "x-of": "a test" });

  const body = '{"n":1}';
  const signature = `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
  const signed = (of: string) => send("/signed", { body, headers: { "X-Hub-Signature-256": of } });
  expect([401, 403]).toContain((await signed(`sha256=${"0".repeat(64)}`)).status);
  expect((await signed(signature)).status).toBe(202);
  const none = await send("/none");
  expect([none.status, await none.json()]).toEqual([404, { error: "there is no webhook /none" }]);
  await relay.stop();
});

test("a member that is about to lead does not wait for those that wait for a leader", async () => {
  await using alone = await new TestMember("alone").start();
  const { door, access, book } = alone;
  const asked = Promise.withResolvers<void>();
  const waiting = {
    answer: (call: ApiCall) => {
      asked.resolve();
      return door.answer(call);
    },
    refused: async () => {},
  };
  const relay = new WebhookRelay({ host: "127.0.0.1", port: 0, door: waiting, access, log: book.log });
  await relay.start();
  const sent = fetch(`http://127.0.0.1:${relay.port}/open`, { method: "POST", body: "text" });
  await asked.promise;
  await relay.stop();
  expect((await sent).status).toBe(503);
});

test("while nobody leads for too long, its sender is told to try again", async () => {
  await using alone = await new TestMember("alone", { waitMs: 20 }).start();
  const { door, access, book } = alone;
  const relay = new WebhookRelay({ host: "127.0.0.1", port: 0, door, access, log: book.log });
  await relay.start();
  const response = await fetch(`http://127.0.0.1:${relay.port}/open`, { method: "POST", body: "text" });
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(await response.text()).toContain("No principal leads");
  // A second member of this host.
  const other = new WebhookRelay({ host: "127.0.0.1", port: relay.port, door, access, log: book.log });
  await other.start();
  expect(book.count(/Webhooks that arrive at this host cannot be passed on/)).toBe(1);
  await other.stop();
  await relay.stop();
});
