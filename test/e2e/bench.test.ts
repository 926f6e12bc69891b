import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { COMPILED, processesWith, ROOT, TemporaryDirectory } from "./support/fixtures.ts";

interface Measure {
  name: string;
  unit: string;
  cdktr: number;
  against: string | null;
  baseline: number | null;
}

test.if(COMPILED)(
  "npm run bench measures everything it promises, each beside its baseline, and leaves nothing behind",
  async () => {
    using directory = new TemporaryDirectory();
    const child = Bun.spawn([process.execPath, "scripts/bench.ts", "--quick", "--json"], {
      cwd: ROOT,
      env: { ...process.env, TMPDIR: directory.root },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [status, out, err] = await Promise.all([
      child.exited,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    if (status !== 0) throw new Error(`the bench ended with status ${status}\n${err}`);
    const { measures } = JSON.parse(out) as { measures: Measure[] };
    const names = measures.map((measure) => measure.name).join("\n");
    for (const promised of [
      "trigger to task start, p50",
      "trigger to task start, p99",
      "chain of 40 sequential tasks",
      "one-task runs",
      "a one-task run, CPU of the principal",
      "log lines",
      "idle principal, CPU",
      "idle agent, CPU",
      "principal, memory",
      "agent, memory",
      "--version",
    ]) {
      expect(names).toContain(promised);
    }
    for (const measure of measures) {
      expect(measure.cdktr).toBeGreaterThanOrEqual(0);
      if (measure.unit !== "% of a core") expect(measure.cdktr).toBeGreaterThan(0);
      if (measure.against !== null) expect(measure.baseline).toBeGreaterThan(0);
    }
    expect(processesWith(directory.root)).toEqual([]);
    expect(readdirSync(directory.root)).toEqual([]);
  },
  180_000,
);
