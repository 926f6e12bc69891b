/** The types of workflows' parameters: what the TypeScript compiler accepts with them, and what it refuses. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cdktr } from "../support/cdktr.ts";

setDefaultTimeout(120_000);

const directory = mkdtempSync(join(tmpdir(), "cdktr-types-"));
const workflows = join(directory, "workflows");
const listeners = join(directory, "listeners");

const write = (path: string, text: string) => {
  mkdirSync(join(directory, path, ".."), { recursive: true });
  writeFileSync(join(directory, path), text);
};

beforeAll(() => {
  write(
    "workflows/etl/daily.yml",
    `params:
  region: {enum: [eu, "us \\"1\\""], default: eu, description: "Which */ orders"}
  days: {type: int, min: 1, max: 31}
  size: {type: number, default: 1.5}
  full: {type: bool, default: false}
  day: {type: date, default: 2026-01-31}
  tables: {type: json, default: [orders]}
tasks: {a: {run: "true"}}
`,
  );
  write("workflows/plain.yml", "tasks: {a: {run: 'true'}}\n");
  write("workflows/_cdktr.yml", "defaults: {timeout: 5m}\n");
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("are written beside the types of the module, again when workflows change, and not at all while one is invalid", async () => {
  const first = await cdktr(["sdk", "typescript", listeners, "--workflows", workflows]);
  expect(first.code).toBe(0);
  expect(first.stderr).toContain("2 files written");
  const types = readFileSync(join(listeners, "cdktr-workflows.d.ts"), "utf8");
  expect(types).toContain('"plain": Readonly<Record<string, never>>;');
  expect(types).toContain(`      /** Which * / orders; one of eu, us "1"; by default eu */
      readonly "region"?: "eu" | "us \\"1\\"";
      /** int from 1 to 31 */
      readonly "days": number;`);
  write("workflows/later.yml", "params: {x: {required: true}}\ntasks: {a: {run: 'true'}}\n");
  const again = await cdktr(["sdk", "typescript", listeners, "--workflows", workflows, "--json"]);
  expect(JSON.parse(again.stdout)).toMatchObject({
    written: ["cdktr-workflows.d.ts"],
    unchanged: ["cdktr.d.ts"],
  });
  write("workflows/later.yml", "tasks: {a: {rnu: 'true'}}\n");
  const refused = await cdktr(["sdk", "typescript", join(directory, "other"), "--workflows", workflows]);
  expect(refused.code).toBe(4);
  expect(refused.stderr).toContain(`These workflow files are invalid: ${join(workflows, "later.yml")}.`);
  expect(refused.stderr).toContain("Nothing was written.");
  const nothing = await cdktr(["sdk", "typescript", listeners, "--workflows", join(directory, "none")]);
  expect(nothing.code).toBe(4);
});

test("the compiler knows ids, names, types, choices and what must be given", async () => {
  await cdktr(["sdk", "typescript", listeners, "--force"]);
  write(
    "listeners/use.ts",
    `import { EventListener, Principal, type ParamsOf } from "cdktr";
const principal = new Principal();
const params: ParamsOf<"etl.daily"> = { days: 3, region: "eu", size: 2, full: true, day: "2026-02-28", tables: [1] };
await principal.runWorkflow("etl.daily", { params });
await principal.runWorkflow("etl.daily", { params: { days: 3 }, startInMs: 1000 }, { timeoutMs: 10 });
await principal.runWorkflow("plain");
await principal.runWorkflow("plain", { startAt: new Date() });
await principal.runWorkflow("unknown.to.types", { params: { anything: [1] } });
// @ts-expect-error days must be given
await principal.runWorkflow("etl.daily");
// @ts-expect-error days must be given
await principal.runWorkflow("etl.daily", { params: { region: "eu" } });
// @ts-expect-error a number, not a text
await principal.runWorkflow("etl.daily", { params: { days: "3" } });
// @ts-expect-error not among the choices
await principal.runWorkflow("etl.daily", { params: { days: 3, region: "asia" } });
// @ts-expect-error a misspelt name
await principal.runWorkflow("etl.daily", { params: { days: 3, regoin: "eu" } });
// @ts-expect-error it has no parameters
await principal.runWorkflow("plain", { params: { days: 3 } });
for await (const item of principal.items("run", "load", { status: "FAILED", outputs: true })) {
  const place: number = item.item_index;
  console.log(item.item_key, place, item.outputs?.rows);
}
const { run, tasks } = await principal.outputs("run");
console.log(run.total, tasks.extract?.rows);
export default class Bell extends EventListener {
  async startListening() {
    await this.runWorkflow("etl.daily", { params: { days: 1 }, dedupeKey: "x" });
    // @ts-expect-error days must be given
    await this.runWorkflow("etl.daily", { dedupeKey: "x" });
  }
}
`,
  );
  write(
    "listeners/tsconfig.json",
    JSON.stringify({
      compilerOptions: {
        ...{ strict: true, noEmit: true, target: "esnext", module: "esnext", moduleResolution: "bundler" },
        ...{ types: [], lib: ["esnext", "dom"], skipLibCheck: false },
      },
      include: ["*.ts"],
    }),
  );
  const compiler = join(import.meta.dir, "../../node_modules/typescript/bin/tsc");
  const result = Bun.spawnSync([process.execPath, compiler, "-p", listeners, "--pretty", "false"], {
    env: { ...process.env, BUN_BE_BUN: "1" },
  });
  expect(result.stdout.toString()).toBe("");
  expect(result.exitCode).toBe(0);
});
