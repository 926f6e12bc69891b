/**
 * Runs the history in a process of its own: a child of this one, from the same executable. They speak over a ZeroMQ socket in a
 * directory that only this user can enter; the child knows a random name without which nobody is heard. The child ends when its input
 * does, and when this process ends, however it ends.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import type { HistoryHost, HistoryPeer, HistorySettings, HistoryStart } from "../../contract/history.ts";
import { CdktrError, errorMessage } from "../../errors.ts";
import { childCommand, HISTORY, isLastingFailure } from "../../host/self.ts";
import { isDoneWithin, turn } from "../../timer.ts";
import { type Message, Router } from "../../zmq/index.ts";

/** The longest path of a Unix socket, bytes. */
const LONGEST_PATH = 107;
/** Name of the directory of the socket in the data directory. */
const DIRECTORY = "ipc";
/** Messages read at once. */
const BATCH = 64;
/** After this many children that ended without a word, the history runs in this process. */
const SILENT_STARTS = 3;
/** How long the child may take to exit after it has closed everything, ms. */
const EXIT_MS = 5000;

/**
 * Each statement occupies a thread of the runtime's pool while it runs, and by default there are as many threads as processors: two long
 * statements of users would keep lines from being written. So there are more than readers, the writer and file operations need at once.
 */
const THREADS = 16;

type Child = Bun.Subprocess<"pipe", "ignore", "inherit">;

/** One child, and what it has to be told once it is connected. */
interface Connected {
  readonly id: string;
  readonly heard: (text: string) => void;
  /** Undefined when it is connected. */
  waiting: string[] | undefined;
}

/** Options of {@link HistoryProcess}. */
export interface HistoryProcessOptions {
  readonly dataDirectory: string;
  /** Runs the history in this process, where no other can be started: as when an emulator runs this program. */
  readonly otherwise: () => Promise<HistoryHost>;
  readonly log: ConsolaInstance;
  /** Starts the child; by default this program. */
  readonly command?: readonly string[];
}

export class HistoryProcess implements HistoryHost {
  readonly #o: HistoryProcessOptions;
  #directory = "";
  #endpoint = "";
  /** That of the bound socket. */
  #inode: number | undefined;
  #router: Router | undefined;
  #current: Connected | undefined;
  /** Children in a row that ended without a word. */
  #silentStarts = 0;
  /** Why there is no socket to speak to a child; undefined when there is one. */
  #noPlace: string | undefined;
  /** Why the history runs in this process, as it was logged last. */
  #saidWhyHere = "";

  constructor(options: HistoryProcessOptions) {
    this.#o = options;
  }

  async open(): Promise<void> {
    const router = new Router({ mandatory: true, sendHighWaterMark: 0, receiveHighWaterMark: 0, linger: 0 });
    try {
      await this.#bind(router);
    } catch (error) {
      router.close();
      this.#removeDirectory();
      this.#noPlace = `there is no place for its socket: ${errorMessage(error)}`;
      return;
    }
    this.#noPlace = undefined;
    this.#router = router;
    void this.#receive(router);
  }

  start(settings: HistorySettings, heard: (text: string) => void, ended: (how: string) => void): HistoryPeer {
    const router = this.#router;
    if (this.#noPlace !== undefined) return this.#startHere(this.#noPlace, settings, heard, ended);
    if (router === undefined) throw new CdktrError("The history is not to be started any more.");
    if (this.#silentStarts >= SILENT_STARTS)
      return this.#startHere("it exits at once", settings, heard, ended);
    const connected: Connected = { id: crypto.randomUUID(), heard, waiting: [] };
    let child: Child;
    try {
      child = Bun.spawn([...(this.#o.command ?? historyCommand())], {
        env: { ...process.env, UV_THREADPOOL_SIZE: String(THREADS) },
        stdin: "pipe",
        stdout: "ignore",
        stderr: "inherit",
        // Its own process group: Ctrl-C in the terminal reaches only this process, which then stops the history last.
        detached: true,
      });
    } catch (error) {
      if (!isLastingFailure(error)) throw error;
      return this.#startHere(errorMessage(error), settings, heard, ended);
    }
    this.#current = connected;
    void this.#reachable(router).then(
      () =>
        tellFirst(child, { settings, endpoint: this.#endpoint, id: connected.id, parent_pid: process.pid }),
      (error) => {
        this.#o.log.error(noPlace(error).message);
        child.kill("SIGKILL");
      },
    );
    void child.exited.then(() => {
      if (this.#current === connected) this.#current = undefined;
      if (connected.waiting === undefined) this.#silentStarts = 0;
      else if (child.signalCode === null) this.#silentStarts++;
      ended(child.signalCode === null ? `status ${child.exitCode}` : String(child.signalCode));
    });
    const kill = () => child.kill("SIGKILL");
    return {
      pid: child.pid,
      send: (text) => {
        if (connected.waiting === undefined) router.trySend([connected.id, text]);
        else connected.waiting.push(text);
      },
      end: async () => {
        await Promise.resolve(child.stdin.end()).catch(() => {});
        if (await isDoneWithin(EXIT_MS, child.exited)) return;
        kill();
        // On a disk that hangs it ends when the disk responds.
        await isDoneWithin(EXIT_MS, child.exited);
      },
      kill,
    };
  }

  #startHere(
    why: string,
    settings: HistorySettings,
    heard: (text: string) => void,
    ended: (how: string) => void,
  ): HistoryPeer {
    if (why !== this.#saidWhyHere)
      this.#o.log.warn(
        `No process can be started for the history (${why}): it runs in the principal's, where a large statement takes the principal's memory.`,
      );
    this.#saidWhyHere = why;
    const waiting: string[] = [];
    let peer: HistoryPeer | undefined;
    const starting = this.#o.otherwise().then(
      (host) => {
        peer = host.start(settings, heard, ended);
        for (const text of waiting.splice(0)) peer.send(text);
      },
      (error) => ended(errorMessage(error)),
    );
    return {
      pid: undefined,
      send: (text) => {
        if (peer === undefined) waiting.push(text);
        else peer.send(text);
      },
      end: async () => {
        await starting;
        await peer?.end();
      },
      kill: () => void starting.then(() => peer?.kill()),
    };
  }

  close(): void {
    this.#router?.close();
    this.#router = undefined;
    this.#removeDirectory();
  }

  async #bind(router: Router): Promise<void> {
    const own = join(this.#o.dataDirectory, DIRECTORY);
    try {
      // This process alone uses the data directory: what is there was left behind.
      rmSync(own, { recursive: true, force: true });
      mkdirSync(own, { mode: 0o700 });
      await this.#bindIn(router, own);
    } catch {
      // The path is too long for a socket, or the file system has none.
      rmSync(own, { recursive: true, force: true });
      await this.#bindIn(router, mkdtempSync(join(tmpdir(), "cdktr-")));
    }
  }

  async #bindIn(router: Router, directory: string): Promise<void> {
    this.#directory = directory;
    const path = join(directory, "history");
    if (Buffer.byteLength(path) > LONGEST_PATH) throw new CdktrError(`${path} is too long for a socket.`);
    this.#endpoint = `ipc://${path}`;
    await router.bind(this.#endpoint);
    chmodSync(path, 0o600);
    this.#inode = inodeOf(path);
  }

  /** Binds the socket again when somebody has removed or replaced it: clean-up jobs do that to temporary directories. */
  async #reachable(router: Router): Promise<void> {
    const inode = inodeOf(join(this.#directory, "history"));
    if (inode !== undefined && inode === this.#inode) return;
    await router.unbind(this.#endpoint).catch(() => {});
    await this.#bind(router);
    this.#o.log.warn(`The socket of the history was gone; there is a new one in ${this.#directory}.`);
  }

  #removeDirectory(): void {
    if (this.#directory !== "") rmSync(this.#directory, { recursive: true, force: true });
    this.#directory = "";
  }

  async #receive(router: Router): Promise<void> {
    while (!router.closed) {
      try {
        for (const message of await router.receiveBatch(BATCH)) this.#take(router, message);
      } catch {
        // The socket is closed, or the next message can be read.
        await turn();
      }
    }
  }

  #take(router: Router, [id, text]: Message): void {
    const current = this.#current;
    if (current === undefined || id?.toString() !== current.id) return;
    if (current.waiting !== undefined) {
      const { waiting } = current;
      current.waiting = undefined;
      for (const told of waiting) router.trySend([current.id, told]);
    }
    // The first message only says that it is connected.
    if (text !== undefined && text.length > 0) current.heard(text.toString());
  }
}

function tellFirst({ stdin }: Child, start: HistoryStart): void {
  void (async () => {
    await stdin.write(`${JSON.stringify(start)}\n`);
    await stdin.flush();
  })().catch(() => {
    // It has exited, which is noticed elsewhere.
  });
}

function noPlace(error: unknown): CdktrError {
  return new CdktrError(`There is no place for the socket of the history: ${errorMessage(error)}`, {
    cause: error,
    hint: "cdktr needs a directory for a Unix socket: CDKTR_APP_DATA_DIRECTORY, or TMPDIR; a shorter path if it is too long.",
  });
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

function historyCommand(): string[] {
  return childCommand(HISTORY, join(import.meta.dir, "../../history/main.ts"));
}
