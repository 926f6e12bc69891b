/**
 * A machine with a real systemd in namespaces of this host, see machine.sh. Its root is this host's with a tmpfs over it, so
 * that it starts in half a second and leaves nothing behind.
 */
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Finished } from "../../support/cdktr.ts";
import { installed } from "../../support/debian.ts";
import { TemporaryDirectory, until } from "../support/fixtures.ts";

const SCRIPT = join(import.meta.dir, "machine.sh");
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How a command on the machine is run. */
export interface RunOptions {
  readonly stdin?: string;
  /** Whom it runs as; root by default. */
  readonly user?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A machine that is up, or why none can be started here. */
export async function machineOrWhyNot(): Promise<Machine | string> {
  if (process.getuid?.() !== 0) return "a machine with a systemd of its own can be started by root only";
  for (const [name, file] of [
    ["systemd", "/lib/systemd/systemd"],
    ["dbus", "/usr/bin/dbus-daemon"],
    ["libpam-systemd", "/usr/share/pam-configs/systemd"],
  ] as const) {
    const missing = await installed(name, () => Bun.spawnSync(["test", "-e", file]).exitCode === 0);
    if (missing !== undefined) return missing;
  }
  try {
    return await Machine.boot();
  } catch (error) {
    return `no machine with a systemd of its own can be started here: ${error}`;
  }
}

/** The machine. Disposing of it switches it off. */
export class Machine implements AsyncDisposable {
  readonly #directory = new TemporaryDirectory();
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #boots: AsyncIterator<number>;
  #init = 0;

  private constructor() {
    const name = `cdktr-test-${process.pid}-${crypto.randomUUID().slice(0, 8)}`;
    this.#child = Bun.spawn([SCRIPT, this.#directory.root, name], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#boots = pidsOf(this.#child.stdout);
  }

  /**
   * Starts a machine and waits until it is up.
   * @throws Error with what was said when it does not start
   */
  static async boot(): Promise<Machine> {
    const machine = new Machine();
    try {
      await machine.#booted();
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A path on the machine as this process reaches it. */
  path(path: string): string {
    return `/proc/${this.#init}/root${path}`;
  }

  /** Writes a file on the machine. */
  write(path: string, text: string, mode = 0o644): void {
    mkdirSync(this.path(dirname(path)), { recursive: true });
    writeFileSync(this.path(path), text, { mode });
  }

  /** Copies an executable of this host to the machine. */
  install(from: string, to: string): void {
    cpSync(from, this.path(to), { dereference: true, mode: 0 });
  }

  /** Runs a command on the machine to its end. */
  async run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
    const { user, env = {}, stdin } = options;
    const variables = Object.entries({ PATH, HOME: "/root", LANG: "C.UTF-8", ...env }).map(
      ([name, value]) => `${name}=${value}`,
    );
    const inside = ["env", "-i", ...variables, ...(user === undefined ? [] : ["runuser", "-u", user, "--"])];
    const child = Bun.spawn(
      ["nsenter", "--target", String(this.#init), "--all", "--", ...inside, ...command],
      { stdin: stdin === undefined ? "ignore" : Buffer.from(stdin), stdout: "pipe", stderr: "pipe" },
    );
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, stdout, stderr };
  }

  /**
   * What a command printed.
   * @throws Error when it fails
   */
  async out(...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command);
    if (code !== 0) throw new Error(`'${command.join(" ")}' ended with ${code}:\n${stdout}${stderr}`);
    return stdout.trim();
  }

  /** One property of a unit. */
  property(unit: string, name: string): Promise<string> {
    return this.out("systemctl", "show", unit, `--property=${name}`, "--value");
  }

  /** The processes in a unit, as the machine numbers them. */
  async processes(unit: string): Promise<number[]> {
    const group = await this.property(unit, "ControlGroup");
    if (group === "") return [];
    const { stdout } = await this.run(["sh", "-c", `cat /sys/fs/cgroup${group}/cgroup.procs`]);
    return stdout.split("\n").filter(Boolean).map(Number);
  }

  /** Restarts the machine, as `reboot` does, and waits until it is up again. */
  async reboot(): Promise<void> {
    await this.run(["systemctl", "reboot"]);
    await this.#booted();
  }

  async #booted(): Promise<void> {
    const { value, done } = await this.#boots.next();
    if (done) throw new Error(`the machine has ended: ${await new Response(this.#child.stderr).text()}`);
    this.#init = value;
    await until(
      "the machine is up",
      async () => (await this.run(["systemctl", "is-system-running", "--wait"])).stdout.trim() === "running",
      20_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The end of its stdin switches it off.
    this.#child.stdin.end();
    await this.#child.exited;
    this.#directory[Symbol.dispose]();
  }
}

async function* pidsOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<number> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const pid = /^booted (\d+)$/.exec(line)?.[1];
      if (pid !== undefined) yield Number(pid);
    }
  }
}
