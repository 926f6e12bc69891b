/** Virtual hosts in network namespaces, connected by a network that can be sniffed. */
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { CdktrProcess, type CommandOptions, type Finished } from "../../support/cdktr.ts";
import { installed } from "../../support/debian.ts";
import { BINARY, COMPILED, TemporaryDirectory } from "./fixtures.ts";

/** The network of the hosts. */
const NET = "10.77.0";

/** The switch: private mounts and namespace names, a bridge, and a process that keeps them alive. */
const SWITCH = `
set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip link set lo up
ip link add switch type bridge
ip link set switch up
echo ready
exec cat`;

/** Plugs a host ($1, address $2) in. */
const PLUG = `
set -e
ip netns add "$1"
ip link add "$1" type veth peer name eth0 netns "$1"
ip link set "$1" master switch up
ip -n "$1" addr add "$2/24" dev eth0
ip -n "$1" link set eth0 up
ip -n "$1" link set lo up`;

/** Becomes a program ($3 …) on a host with its own name ($1), in a directory ($2). */
const ENTER = `hostname "$1"; cd "$2"; shift 2; exec "$@"`;

/** Why there can be no such network here; undefined when there can. */
export async function networkMissing(): Promise<string | undefined> {
  const ip = await installed("iproute2", () => Bun.which("ip") !== null);
  if (ip !== undefined) return ip;
  if (Bun.which("python3") === null) return "python3 is missing, which listens to the wire";
  try {
    await using _ = await Network.create([]);
    return undefined;
  } catch (error) {
    return `network namespaces cannot be made: ${error instanceof Error ? error.message : error}`;
  }
}

/** What went over the wire, to or from a port. */
export interface Traffic {
  readonly port: number;
  readonly direction: "to" | "from";
  readonly bytes: number;
  /** Those of the texts that were asked for which are in it. */
  readonly found: readonly string[];
}

/** Hosts on a wire. Everything is gone at the end. */
export class Network implements AsyncDisposable {
  readonly #holder: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #isUser: boolean;
  readonly #directory = new TemporaryDirectory();
  readonly #hosts: Host[] = [];
  #sniffer: Bun.Subprocess<"pipe", "pipe", "inherit"> | undefined;
  #answers: { read(): Promise<{ value?: Uint8Array | undefined }> } | undefined;

  private constructor(holder: Bun.Subprocess<"pipe", "pipe", "pipe">, isUser: boolean) {
    this.#holder = holder;
    this.#isUser = isUser;
  }

  /**
   * Makes a network.
   * @param listenTo ports whose traffic is kept; none: nobody listens
   * @throws Error with what the system says where that is not allowed
   */
  static async create(listenTo: readonly number[]): Promise<Network> {
    let why = "";
    // Root of the machine, else root of a user namespace of one's own.
    for (const user of [[], ["--user", "--map-root-user"]]) {
      const holder = Bun.spawn(["unshare", ...user, "--net", "--mount", "sh", "-c", SWITCH], {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
      });
      const { value } = await holder.stdout.getReader().read();
      if (value !== undefined) {
        const network = new Network(holder, user.length > 0);
        if (listenTo.length > 0) await network.#listen(listenTo);
        return network;
      }
      why = (await new Response(holder.stderr).text()).trim();
    }
    throw new Error(why);
  }

  /** A new host, with a directory, a home, a name and an address of its own. */
  async host(name: string): Promise<Host> {
    const address = `${NET}.${this.#hosts.length + 1}`;
    const child = Bun.spawn([...this.#inside(), "sh", "-c", PLUG, "sh", name, address], { stderr: "pipe" });
    if ((await child.exited) !== 0) throw new Error(await new Response(child.stderr).text());
    const directory = this.#directory.path(name);
    mkdirSync(directory);
    const into = [...this.#inside(name), "unshare", "--uts", "sh", "-c", ENTER, "sh", name, directory];
    const host = new Host(name, address, directory, into);
    this.#hosts.push(host);
    return host;
  }

  /** What went over the wire since the last time, and which of the texts are in it. */
  async heard(texts: readonly string[]): Promise<Traffic[]> {
    const { lost, traffic } = (await this.#ask(texts)) as { lost: number; traffic: Traffic[] };
    if (lost > 0) throw new Error(`${lost} packets were not kept: this says nothing`);
    return traffic;
  }

  /** Writes down what the first client of a port sent since {@link heard} was asked last. */
  async save(port: number, file: string): Promise<void> {
    await this.#ask({ save: port, file });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.#hosts) await host.stop();
    void this.#sniffer?.stdin.end();
    await this.#sniffer?.exited;
    void this.#holder.stdin.end();
    await this.#holder.exited;
    this.#directory[Symbol.dispose]();
  }

  /** Words in front of a command that runs at the switch, or on a host. */
  #inside(host?: string): string[] {
    const { pid } = this.#holder;
    const net = host === undefined ? "--net" : `--net=/proc/${pid}/root/run/netns/${host}`;
    const user = this.#isUser ? ["--user", "--preserve-credentials"] : [];
    return ["nsenter", "--target", String(pid), ...user, "--mount", net, "--"];
  }

  async #listen(ports: readonly number[]): Promise<void> {
    const program = join(import.meta.dir, "sniffer.py");
    const sniffer = Bun.spawn([...this.#inside(), "python3", program, ...ports.map(String)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#sniffer = sniffer;
    this.#answers = sniffer.stdout.getReader();
    if (!(await this.#line()).startsWith("ready")) throw new Error("nobody listens to the wire");
  }

  async #ask(question: unknown): Promise<unknown> {
    if (this.#sniffer === undefined) throw new Error("nobody listens to the wire");
    void this.#sniffer.stdin.write(`${JSON.stringify(question)}\n`);
    await this.#sniffer.stdin.flush();
    return JSON.parse(await this.#line());
  }

  async #line(): Promise<string> {
    let text = "";
    while (!text.endsWith("\n")) {
      const { value } = (await this.#answers?.read()) ?? {};
      if (value === undefined) throw new Error("the listener at the wire has ended");
      text += Buffer.from(value).toString();
    }
    return text;
  }
}

/** A host: cdktr is on it as one copied file. */
export class Host {
  readonly name: string;
  readonly address: string;
  /** Its working directory and its home. */
  readonly directory: string;
  /** Words in front of a command that runs on it. */
  readonly into: readonly string[];
  readonly #running = new Set<CdktrProcess>();

  constructor(name: string, address: string, directory: string, into: readonly string[]) {
    this.name = name;
    this.address = address;
    this.directory = directory;
    this.into = into;
    if (COMPILED) copyFileSync(BINARY, this.path("cdktr"));
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Starts cdktr on the host. */
  start(args: readonly string[], options: Pick<CommandOptions, "env" | "stdin"> = {}): CdktrProcess {
    // In place of the path of the executable comes that of the copy.
    const self = COMPILED ? ["sh", "-c", 'shift; exec "$0" "$@"', this.path("cdktr")] : [];
    const child = new CdktrProcess(args, {
      ...options,
      env: { HOME: this.directory, CDKTR_CACHE_DIRECTORY: undefined, ...options.env },
      cwd: this.directory,
      prefix: [...this.into, ...self],
    });
    this.#running.add(child);
    void child.finished.then(() => this.#running.delete(child));
    return child;
  }

  /** Runs cdktr on the host to its end. */
  run(args: readonly string[], options: Pick<CommandOptions, "env" | "stdin"> = {}): Promise<Finished> {
    return this.start(args, options).finished;
  }

  /** Ends what runs on it. */
  async stop(): Promise<void> {
    await Promise.all([...this.#running].map((child) => child.stop()));
  }
}
