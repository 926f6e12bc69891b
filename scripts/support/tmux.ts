/** A terminal that a program can look at: tmux, on a server of its own that nobody else sees. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { APT_LOCK } from "./paths.ts";

/** How a terminal is made. */
export interface TmuxOptions {
  readonly width: number;
  readonly height: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Makes sure that there is a tmux: installs Debian's package where that is possible.
 * @throws Error saying what to do
 */
function ensureTmux(): void {
  if (Bun.which("tmux") !== null) return;
  const byHand = "Install tmux (Debian: apt-get install tmux): the tests of the terminal UI run in it.";
  if (process.getuid?.() !== 0 || Bun.which("apt-get") === null)
    throw new Error(`tmux is missing. ${byHand}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  for (const command of [
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "tmux"],
  ]) {
    const result = Bun.spawnSync(["flock", APT_LOCK, ...command], { env, stdout: "pipe", stderr: "pipe" });
    if (result.exitCode !== 0) {
      throw new Error(
        `tmux is missing and '${command.join(" ")}' failed: ${result.stderr.toString().trim()}\n${byHand}`,
      );
    }
  }
}

const servers = new Set<Tmux>();
process.on("exit", () => {
  for (const server of servers) server.stop();
});

/** A terminal with a shell in it. */
export class Tmux implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "cdktr-tmux-"));
  readonly #socket = join(this.#directory, "socket");

  constructor(options: TmuxOptions) {
    ensureTmux();
    servers.add(this);
    const env = { ...process.env, ...options.env, TERM: "xterm-256color", LC_ALL: "C.UTF-8", PS1: "$ " };
    this.#run(
      [
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-x",
        String(options.width),
        "-y",
        String(options.height),
        "env",
        "-u",
        "TMUX",
        "bash",
        "--norc",
        "--noprofile",
      ],
      { env, cwd: options.cwd },
    );
  }

  /** Types keys, by tmux's names: `Enter`, `Escape`, `C-c`, `Up`, or letters. */
  keys(...keys: string[]): void {
    this.#run(["send-keys", ...keys]);
  }

  /** Types text as it is. */
  type(text: string): void {
    this.#run(["send-keys", "-l", text]);
  }

  /** What the screen shows, row by row; with `colours`, the escape sequences too. */
  screen(colours = false): string {
    return this.#run(["capture-pane", "-p", ...(colours ? ["-e"] : [])]);
  }

  resize(width: number, height: number): void {
    this.#run(["resize-window", "-x", String(width), "-y", String(height)]);
  }

  /**
   * Waits until the screen matches; returns it.
   * @throws Error with the screen when it does not within `timeoutMs`
   */
  async waitFor(pattern: RegExp | ((screen: string) => boolean), timeoutMs = 45_000): Promise<string> {
    const matches = typeof pattern === "function" ? pattern : (screen: string) => pattern.test(screen);
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const screen = this.screen();
      if (matches(screen)) return screen;
      if (performance.now() > deadline) throw new Error(`The screen never matched ${pattern}:\n${screen}`);
      // A terminal tells nobody that it has changed.
      await Bun.sleep(25);
    }
  }

  /** Ends the terminal and what runs in it. */
  stop(): void {
    if (!servers.delete(this)) return;
    Bun.spawnSync(["tmux", "-S", this.#socket, "kill-server"]);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  #run(
    args: readonly string[],
    options: { env?: Record<string, string | undefined>; cwd?: string | undefined } = {},
  ): string {
    const result = Bun.spawnSync(["tmux", "-S", this.#socket, ...args], {
      ...options,
      stdout: "pipe",
      stderr: "pipe",
    });
    if (result.exitCode !== 0) throw new Error(`tmux ${args[0]} failed: ${result.stderr.toString().trim()}`);
    return result.stdout.toString();
  }
}
