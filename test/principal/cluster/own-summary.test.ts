import { expect, test } from "bun:test";
import { memberIdOf } from "../../../src/principal/cluster/member-id.ts";
import { ownSummary, reachedAt } from "../../../src/principal/cluster/own-summary.ts";
import { TestPrincipal } from "../support.ts";

test("a single principal lists itself", async () => {
  await using cluster = await new TestPrincipal({ config: { CDKTR_PRINCIPAL_NAME: "one" } }).start();
  const [only, ...others] = await cluster.client().call("LSPRINCIPALS", {});
  expect(others).toEqual([]);
  expect(only).toMatchObject({ name: "one", is_self: true, role: "single", epoch: null, problem: null });
  expect(only?.api_port).toBe(cluster.ports.api);
});

test("others reach it where the settings say, else where it binds, else at its host", () => {
  const { config } = new TestPrincipal();
  const at = (address: string, host: string) =>
    reachedAt({ ...config, CDKTR_PRINCIPAL_ADDRESS: address, CDKTR_PRINCIPAL_HOST: host });
  expect(at("db1.example", "0.0.0.0")).toBe("db1.example");
  expect(at("", "10.0.0.5")).toBe("10.0.0.5");
  expect(at("", "0.0.0.0")).toBe(at("", "::"));
  expect(at("", "0.0.0.0")).not.toBe("0.0.0.0");
  expect(ownSummary(config, { api: 1, logsListening: 2, logsPublishing: 3 }, 4).name).not.toBe("");
});

test("members on one host differ by their data directories or ports, and are the same after a restart", () => {
  const ids = [memberIdOf("/data", 5561), memberIdOf("/data", 6561), memberIdOf("/other", 5561)];
  expect(new Set(ids).size).toBe(3);
  expect(memberIdOf("/data/", 5561)).toBe(ids[0] ?? "");
});
