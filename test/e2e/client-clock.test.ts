/** A command on a host whose clock is wrong: ages and spans are counted by the principal's clock. */
import { expect, test } from "bun:test";
import { Tmux } from "../../scripts/support/tmux.ts";
import { CDKTR, startCluster } from "../support/cdktr.ts";
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
    expect(await shown(...args)).not.toMatch(/\bin \d|\b(?:59|60)m(?!s)|\b1h/);
  }
});

test("the terminal UI shows firings and ages by the principal's clock and zone", async () => {
  using directory = new TemporaryDirectory();
  const clock = await FakeClock.create(directory.path("clock"));
  clock.set(HOUR / 2);
  await using cluster = await startCluster({
    agents: 1,
    env: { TZ: "Asia/Kolkata" },
    workflows: {
      "hello.yml": shellWorkflow({ a: { sh: "echo hello" } }),
      "hourly.yml": shellWorkflow({ a: { sh: "true" } }, 'cron: "0 0 * * * *"\n'),
      "ticks.yml": shellWorkflow({ a: { sh: "true" } }, 'cron: "*/2 * * * * *"\n'),
    },
  });
  const { workflow_instance_id: id } = await cluster.client.runTask("hello", {
    dedupe_key: crypto.randomUUID(),
  });
  await runOver(cluster.client, id);
  const tmux = new Tmux({
    width: 130,
    height: 30,
    cwd: cluster.directory,
    env: { ...cluster.env, TZ: "UTC" },
  });
  try {
    const settings = Object.entries(clock.env).map(([name, value]) => `${name}=${value}`);
    tmux.type([...settings, ...CDKTR, "ui"].join(" "));
    tmux.keys("Enter");
    // Half past the full hours of UTC, as everywhere in India; not by the clock of this host, which is half an hour ahead.
    const screen = await tmux.waitFor(/hourly .* in \d+[ms]/);
    const [, count, unit] = /hourly .* in (\d+)([ms])/.exec(screen) ?? [];
    const shown = Number(count) / (unit === "s" ? 60 : 1);
    const next = (await cluster.client.listWorkflows()).hourly?.next_firing_ms ?? Number.NaN;
    expect(new Date(next).getUTCMinutes()).toBe(30);
    expect(Math.abs((next - Date.now()) / 60_000 - shown)).toBeLessThan(1.5);
    // One that has passed is followed by the next.
    const firings = async () => {
      tmux.type(":workflow ticks");
      tmux.keys("Enter");
      return (await tmux.waitFor(/next +\S+ \S+/)).match(/next +(\S+ \S+)/)?.[1];
    };
    const first = await firings();
    await tmux.waitFor((now) => {
      const later = now.match(/next +(\S+ \S+)/)?.[1];
      return later !== undefined && first !== undefined && later > first;
    });
  } finally {
    await tmux.stop();
  }
});
