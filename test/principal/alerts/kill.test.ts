/** kill -9 at every step between the end of a run and its delivery: each alert arrives, and at most twice. With a real receiver of HTTP. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { LONG } from "../../support/long.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";
import { randomNumbers } from "../../workflow/support.ts";
import { type KillPlan, play } from "./kill-world.ts";

const WORLD = join(import.meta.dir, "kill-world.ts");
/** CDKTR_TEST_SEED names others: one, such as 7, or a range, such as 300-900. */
const [FIRST = 1, LAST = FIRST] = (process.env.CDKTR_TEST_SEED ?? (LONG ? "1-200" : "1-20"))
  .split("-")
  .map(Number);
/** So many worlds are played at once. */
const AT_ONCE = 2;
/** Statements from the end of the first run until all is told, at least: a world with a higher number is not killed. */
const MOST_STATEMENTS = 70;

/** What has arrived: the ids of messages for each run. */
class Receiver implements Disposable {
  readonly arrived = new Map<string, string[]>();
  readonly #server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { id, alerts } = (await request.json()) as {
        readonly id: string;
        readonly alerts: readonly { readonly workflow_instance_id: string }[];
      };
      for (const { workflow_instance_id: run } of alerts)
        this.arrived.set(run, [...(this.arrived.get(run) ?? []), id]);
      return new Response();
    },
  });

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/`;
  }

  [Symbol.dispose](): void {
    void this.#server.stop(true);
  }
}

function planOf(seed: number, directory: string, url: string): KillPlan {
  const random = randomNumbers(seed);
  const below = (n: number) => Math.floor(random() * n);
  const runs = 1 + below(4);
  const kinds = ["statement", "statement", "statement", "before", "after"] as const;
  const kind = kinds[below(kinds.length)] ?? "statement";
  const n = 1 + below(kind === "statement" ? MOST_STATEMENTS : runs);
  return { directory, url, runs, atOnce: 1 + below(runs), dies: { [kind]: n } as KillPlan["dies"] };
}

/** Returns whether it was killed. */
async function playSeed(seed: number, program: string): Promise<boolean> {
  using directory = new TemporaryDirectory();
  using receiver = new Receiver();
  const plan = planOf(seed, directory.path("data"), receiver.url);
  const child = Bun.spawn([process.execPath, program, JSON.stringify(plan)], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await child.exited;
  const wasKilled = child.signalCode === "SIGKILL";
  if (!wasKilled) expect({ seed, status: child.exitCode }).toEqual({ seed, status: 0 });
  // The next principal.
  await play({ ...plan, dies: null });
  const expected = Array.from({ length: plan.runs }, (_, n) => `run-${n + 1}`);
  expect({ seed, runs: [...receiver.arrived.keys()].sort() }).toEqual({ seed, runs: expected });
  let twice = 0;
  for (const [run, ids] of receiver.arrived) {
    expect({ seed, run, times: ids.length }).toEqual({
      seed,
      run,
      times: wasKilled && ids.length === 2 ? 2 : 1,
    });
    // Whoever gets it twice can tell.
    expect({ seed, run, ids: new Set(ids).size }).toEqual({ seed, run, ids: 1 });
    twice += ids.length - 1;
  }
  // One message was on its way, if any was.
  if (twice > 0)
    expect(
      new Set([...receiver.arrived.values()].filter(({ length }) => length === 2).map(([id]) => id)).size,
    ).toBe(1);
  return wasKilled;
}

test(
  "each alert arrives at least once, and twice only if a principal was killed in between",
  async () => {
    using directory = new TemporaryDirectory();
    // One file starts in a fraction of the time.
    const built = await Bun.build({ entrypoints: [WORLD], target: "bun", outdir: directory.root });
    const program = built.outputs[0]?.path ?? WORLD;
    let killed = 0;
    for (let seed = FIRST; seed <= LAST; seed += AT_ONCE) {
      const seeds = Array.from({ length: Math.min(AT_ONCE, LAST - seed + 1) }, (_, n) => seed + n);
      for (const wasKilled of await Promise.all(seeds.map((each) => playSeed(each, program))))
        killed += Number(wasKilled);
    }
    // The steps that are killed at are those that there are.
    if (LAST - FIRST > 10) expect(killed).toBeGreaterThan((LAST - FIRST) / 4);
  },
  (LONG ? 30 : 4) * 60_000,
);
