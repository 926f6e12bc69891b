/** Helpers for the tests of listeners. */
import { resolve } from "node:path";
import type { RunSummary } from "../../../src/contract/messages.ts";
import type { PrincipalClient } from "../../../src/protocol/client.ts";
import { type Cluster, cdktr, cleanEnvironment } from "../../support/cdktr.ts";
import { pythonWith } from "../../support/python.ts";
import { ROOT, TemporaryDirectory } from "../support/fixtures.ts";

/** The directory of the examples. */
export const EXAMPLES = resolve(ROOT, "src/sdk/examples");

/** A workflow that says hello to its parameter `who`. */
export const HELLO = `name: Hello
params:
  who:
    default: world
tasks:
  say:
    name: Say
    config: !Subprocess
      cmd: sh
      args: ["-c", 'echo "hello $CDKTR_PARAM_WHO"']
`;

/** All runs of a trigger, oldest first. */
export async function runsBy(client: PrincipalClient, trigger: string): Promise<RunSummary[]> {
  const runs = await client.listRuns({ limit: 10_000 });
  return runs.filter((run) => run.trigger === trigger).reverse();
}

/** The values that the runs have of the parameter `who`, in order. */
export async function whoOf(client: PrincipalClient, runs: readonly RunSummary[]): Promise<string[]> {
  const details = await Promise.all(runs.map((run) => client.getRun(run.workflow_instance_id)));
  return details.map((run) => run.params.who ?? "");
}

/** Another program that runs beside a test; it is killed at the end of the scope. */
export class Program implements AsyncDisposable {
  output = "";
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #listeners = new Set<() => void>();

  constructor(command: readonly string[], options: { env?: Record<string, string>; cwd?: string } = {}) {
    this.child = Bun.spawn([...command], {
      env: { ...cleanEnvironment(options.env), PYTHONDONTWRITEBYTECODE: "1" },
      cwd: options.cwd,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    for (const stream of [this.child.stdout, this.child.stderr]) void this.#read(stream);
    void this.child.exited.then(() => this.#wake());
  }

  /**
   * Resolves when what it printed matches.
   * @throws Error with its output when it ends without
   */
  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.output);
      if (match !== null) return match;
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`The program ended without printing ${pattern}:\n${this.output}`);
      }
      await new Promise<void>((wake) => this.#listeners.add(wake));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.exited;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      this.output += decoder.decode(chunk, { stream: true });
      this.#wake();
    }
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }
}

/** Pythons with the package that this executable carries, and others beside it. */
export class PythonListeners implements Disposable {
  readonly #directory = new TemporaryDirectory();
  readonly python: string;

  private constructor(python: string) {
    this.python = python;
  }

  /** @param packages from PyPI, pyzmq among them */
  static async prepare(packages: string[]): Promise<PythonListeners> {
    const made = new PythonListeners(await pythonWith(packages));
    const { code, stderr } = await cdktr(["sdk", "python", made.#directory.path("cdktr-python")]);
    if (code !== 0) throw new Error(stderr);
    return made;
  }

  /** Starts a program of the examples, or one given by its path, against a cluster. */
  start(cluster: Cluster, file: string, env: Record<string, string> = {}, args: string[] = []): Program {
    return new Program([this.python, "-u", resolve(EXAMPLES, file), ...args], {
      cwd: this.#directory.root,
      env: {
        ...cluster.env,
        PYTHONPATH: [this.#directory.path("cdktr-python"), process.env.PYTHONPATH].filter(Boolean).join(":"),
        ...env,
      },
    });
  }

  /** Its own directory. */
  path(...parts: string[]): string {
    return this.#directory.path(...parts);
  }

  [Symbol.dispose](): void {
    this.#directory[Symbol.dispose]();
  }
}
