/** cdktr's own log cannot be written: its reader has exited, or its disk is full. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { startCluster } from "../../support/cdktr.ts";
import { runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, PrivateMounts, trigger } from "./support.ts";

/** A prefix for a command that appends its stderr to $LOG. */
const LOGGED = ["sh", "-c", 'exec "$@" 2>>"$LOG"', "sh"] as const;
const LOST = /WARN +\[log\] \d+ messages? (?:was|were) lost here/;

test("principal and agent continue, and report later how many messages were lost", async () => {
  using directory = new TemporaryDirectory();
  await using mounts = await PrivateMounts.create();
  await mounts.disk(directory.path("disk"), 256);
  const [log, pipe] = [directory.path("disk/principal.log"), directory.path("agent.pipe")];
  Bun.spawnSync(["mkfifo", pipe]);
  const workflow = (sh: string) => shellWorkflow({ a: { sh } });
  await using cluster = await startCluster({ env: PATIENT, workflows: { "quick.yml": workflow("true") } });
  await cluster.principal?.stop();
  const startPrincipal = () =>
    cluster.startPrincipal([], { prefix: [...mounts.prefix, ...LOGGED], env: { LOG: log } });

  mkdirSync(mounts.path(directory.path("disk")), { recursive: true });
  mounts.fill(directory.path("disk"));
  let principal = await startPrincipal();
  using first = new Reader(pipe);
  const agent = await cluster.startAgent([], { prefix: LOGGED, env: { LOG: pipe } });
  await until("the agent's log is read", () => first.text.includes("INFO"));
  await first.leave();

  // A principal that comes back is worth a message of the agent's.
  await principal.stop();
  principal = await startPrincipal();
  expect((await runOver(cluster.client, await trigger(cluster, "quick"))).status).toBe("COMPLETED");
  expect([principal.ended, agent.ended]).toEqual([false, false]);

  mounts.free(directory.path("disk"));
  cluster.writeWorkflow("quick.yml", workflow("echo changed"));
  await until("the principal tells of its lost messages", () =>
    LOST.test(readFileSync(mounts.path(log), "utf8")),
  );
  using second = new Reader(pipe);
  await principal.stop();
  await startPrincipal();
  await until("the agent tells of its lost messages", () => LOST.test(second.text));
});

/** What comes out of a named pipe. */
class Reader implements Disposable {
  text = "";
  readonly #cat: Bun.Subprocess<"ignore", "pipe", "inherit">;

  constructor(pipe: string) {
    this.#cat = Bun.spawn(["cat", pipe], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    void this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#cat.stdout) this.text += decoder.decode(chunk, { stream: true });
  }

  async leave(): Promise<void> {
    this.#cat.kill("SIGKILL");
    await this.#cat.exited;
  }

  [Symbol.dispose](): void {
    this.#cat.kill("SIGKILL");
  }
}
