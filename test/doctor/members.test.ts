import { describe, expect, test } from "bun:test";
import { loadConfig } from "../../src/config.ts";
import type { PrincipalInfo, PrincipalSummary } from "../../src/contract/messages.ts";
import { PROTOCOL } from "../../src/contract/version.ts";
import { checkStore, judgeMembers } from "../../src/doctor/member-checks.ts";
import { checkMetrics } from "../../src/doctor/port-checks.ts";

function one(name: string, more: Partial<PrincipalSummary> = {}): PrincipalSummary {
  return {
    name,
    is_self: false,
    role: "follower",
    host: `${name}.example`,
    api_port: 5561,
    logs_listening_port: 5562,
    logs_publishing_port: 5563,
    version: "1.0.0",
    protocol: PROTOCOL,
    started_at_ms: 1,
    since_ms: 1,
    silent_ms: 0,
    epoch: null,
    lag: null,
    same_workflows: true,
    store: null,
    problem: null,
    ...more,
  };
}

const LEADER = one("a", { role: "leader", epoch: 3, store: { p50_ms: 1.2, p99_ms: 8 } });

describe("what is said of several principals", () => {
  test.each<[what: string, all: PrincipalSummary[], said: string[]]>([
    ["nothing of one that is alone", [one("a", { role: "single" })], []],
    [
      "who leads",
      [LEADER, one("b")],
      ["ok: 2 principals, a leads (epoch 3); its commits take 1.2 ms, the slowest of a hundred 8 ms"],
    ],
    ["that none leads", [one("a"), one("b", { role: "changing" })], ["error: No principal leads."]],
    [
      "who was not heard of",
      [LEADER, one("b", { role: "silent", silent_ms: 12_345 })],
      [
        "ok: 2 principals, a leads (epoch 3); its commits take 1.2 ms, the slowest of a hundred 8 ms",
        "warning: The principal b (b.example:5561) was not heard of for 12 s.",
      ],
    ],
    [
      "who cannot lead, or would do so otherwise",
      [
        { ...LEADER, store: { p50_ms: 1, p99_ms: 500 } },
        one("b", {
          role: "joining",
          problem: "The schema is newer.",
          same_workflows: false,
          version: "0.9.0",
        }),
      ],
      [
        "ok: 2 principals, a leads (epoch 3); its commits take 1 ms, the slowest of a hundred 500 ms",
        "warning: Commits of a to PostgreSQL take up to 500 ms.",
        "warning: The principal b says: The schema is newer.",
        "warning: The workflow files of b are not those of the leader, a.",
        "warning: The principal b is cdktr 0.9.0, the leader cdktr 1.0.0.",
      ],
    ],
  ])("%s", (_, all, said) => {
    const found = judgeMembers(all);
    expect(found.map(({ severity, message }) => `${severity}: ${message}`)).toEqual(said);
    for (const { severity, why, remedy } of found) {
      if (severity === "ok") continue;
      expect(why).not.toBeNull();
      expect(remedy).not.toBeNull();
    }
  });
});

test("a database that cannot be used is named without its password; without one nothing is said", async () => {
  const { values } = loadConfig({}, { HOME: "/tmp" }, "/nonexistent");
  expect(await checkStore(values)).toEqual([]);
  const [found] = await checkStore({ ...values, CDKTR_STORE_URL: "postgres://me:s3cret@127.0.0.1:1x/db" });
  expect(found).toMatchObject({ check: "store", severity: "error" });
  expect(JSON.stringify(found)).not.toContain("s3cret");
});

test("the metrics of a follower are those of the installation, and those of a stranger are not", async () => {
  let member = "b";
  await using follower = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => Response.json({ status: "ok", member, role: "FOLLOWING", leader: "a" }),
  });
  const { values } = loadConfig(
    {},
    { HOME: "/nowhere", CDKTR_METRICS_PORT: String(follower.port) },
    "/nowhere",
  );
  const address = { host: "b.example", api_port: 1, logs_listening_port: 2, logs_publishing_port: 3 };
  const info = { principal_id: "p", member: "b", members: [{ name: "b", ...address }] } as PrincipalInfo;
  const severities = async () => (await checkMetrics(values, info)).map(({ severity }) => severity);
  expect(await severities()).toEqual(["ok"]);
  member = "elsewhere";
  expect(await severities()).toEqual(["warning"]);
});
