/** A command on a host whose clock is wrong: ages and spans are counted by the principal's clock. */
import { expect, test } from "bun:test";
import { startCluster } from "../support/cdktr.ts";
import { FakeClock } from "./failures/fake-clock.ts";
import { runOver, shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

const HOUR = 3600;

test.each([HOUR, -HOUR])("a clock that is %d s ahead", async (seconds) => {
  using directory = new TemporaryDirectory();
  const clock = await FakeClock.create(directory.path("clock"));
  clock.set(seconds);
  await using cluster = await startCluster({
    agents: 1,
    workflows: { "hello.yml": shellWorkflow({ a: { sh: "echo hello" } }) },
  });
  const { workflow_instance_id: id } = await cluster.client.runTask("hello", {
    dedupe_key: crypto.randomUUID(),
  });
  await runOver(cluster.client, id);
  const shown = async (...args: string[]) => {
    const { code, stdout, stderr } = await cluster.cdktr(args, { env: clock.env });
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
    return stdout;
  };
  expect(await shown("logs", "query", "--last", "10m")).toContain("hello");
  expect(await shown("logs", "query", "--since", "10m ago", "--until", "0s ago")).toContain("hello");
  for (const args of [
    ["runs", "list"],
    ["runs", "show", id],
    ["agents", "list"],
  ]) {
    expect(await shown(...args)).not.toMatch(/\bin \d|\b(?:59|60)m|\b1h/);
  }
});
