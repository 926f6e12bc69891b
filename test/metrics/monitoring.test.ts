/** The files for Grafana and Prometheus, checked by the tool of Prometheus itself. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { grafanaFiles, prometheusFiles } from "../../src/metrics/monitoring/files.ts";
import { unpacked } from "../support/debian.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

async function promtool(directory: string, ...args: string[]): Promise<{ code: number; output: string }> {
  const tool = join(await unpacked(["prometheus"]), "usr/bin/promtool");
  const child = Bun.spawn([tool, ...args], { cwd: directory, stdout: "pipe", stderr: "pipe" });
  const [code, ...texts] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code, output: texts.join("") };
}

interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly type: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

const RULES = prometheusFiles()["cdktr-rules.yml"] ?? "";
const DASHBOARD: Dashboard = JSON.parse(grafanaFiles()["cdktr-dashboard.json"] ?? "");

test("the rules are valid, and each rises when it should and not before", async () => {
  using directory = new TemporaryDirectory();
  await Bun.write(directory.path("cdktr-rules.yml"), RULES);
  await Bun.write(directory.path("rules.test.yml"), readFileSync(join(import.meta.dir, "rules.test.yml")));
  const checked = await promtool(directory.root, "check", "rules", "cdktr-rules.yml");
  expect(checked).toMatchObject({ code: 0, output: expect.stringMatching(/SUCCESS: \d+ rules found/) });
  const tested = await promtool(directory.root, "test", "rules", "rules.test.yml");
  expect(tested).toMatchObject({ code: 0, output: expect.stringContaining("SUCCESS") });
  // Each is in a test.
  const { groups } = parse(RULES) as { groups: { rules: { alert: string }[] }[] };
  const tests = readFileSync(join(import.meta.dir, "rules.test.yml"), "utf8");
  for (const { alert } of groups.flatMap(({ rules }) => rules)) expect(tests).toContain(`"${alert}"`);
});

test("the dashboard's queries are valid, and its panels have places of their own", async () => {
  using directory = new TemporaryDirectory();
  const queries = DASHBOARD.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  expect(queries.length).toBeGreaterThan(30);
  const rules = queries.map((expr, n) => ({ record: `panel:query:number${n}`, expr }));
  await Bun.write(directory.path("queries.yml"), JSON.stringify({ groups: [{ name: "panels", rules }] }));
  expect(await promtool(directory.root, "check", "rules", "queries.yml")).toMatchObject({ code: 0 });
  const taken = new Set<string>();
  for (const { gridPos } of DASHBOARD.panels) {
    expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken).not.toContain(`${x},${y}`);
        taken.add(`${x},${y}`);
      }
  }
  expect(new Set(DASHBOARD.panels.map(({ id }) => id)).size).toBe(DASHBOARD.panels.length);
});
