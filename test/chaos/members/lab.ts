/**
 * A network of hosts on this machine: each is a network namespace with an address of its own, and any two can be cut from each other. The
 * program that uses it must have been started {@link insideLab}: what it starts ends with it, however it ends.
 */

/** The address of this program in the network of the hosts. */
const DRIVER = "10.78.0.254";
const NET = "10.78.0";

/** The hardware address of nobody. */
const NOBODY = "02:00:00:00:00:99";

const SETUP = `
set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip link set lo up
ip link add switch type bridge
ip addr add ${DRIVER}/24 dev switch
ip link set switch up
exec "$@"`;

/** The words that start a command as the driver of a network of its own. */
export function insideLab(command: readonly string[]): string[] {
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  const own = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
  return ["unshare", ...user, ...own, "--", "sh", "-c", SETUP, "sh", ...command];
}

/** Two hosts, or a host and the driver. */
type Pair = readonly [LabHost, LabHost];

/** A host of the network. */
export interface LabHost {
  readonly name: string;
  readonly address: string;
  /** Words in front of a command that runs there. */
  readonly prefix: readonly string[];
}

/** The hosts of the network that this program drives. */
export class Lab {
  readonly hosts: LabHost[] = [];
  readonly #cut = new Set<string>();

  /** Plugs a new host in. */
  async host(name: string): Promise<LabHost> {
    const address = `${NET}.${this.hosts.length + 1}`;
    await run("ip", "netns", "add", name);
    await run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name);
    await run("ip", "link", "set", name, "master", "switch", "up");
    await run("ip", "-n", name, "addr", "add", `${address}/24`, "dev", "eth0");
    for (const device of ["eth0", "lo"]) await run("ip", "-n", name, "link", "set", device, "up");
    const host = { name, address, prefix: ["nsenter", `--net=/run/netns/${name}`, "--"] };
    this.hosts.push(host);
    return host;
  }

  /** Nothing passes between two hosts any more; what is open hangs, as on a network that drops packets. */
  async cut(...[a, b]: Pair): Promise<void> {
    await this.#deaf(a, b);
    await this.#deaf(b, a);
  }

  /** Whatever was cut passes again. */
  async heal(): Promise<void> {
    for (const pair of this.#cut) {
      const [name = "", address = ""] = pair.split(" ");
      await run("ip", "-n", name, "neigh", "del", address, "dev", "eth0");
      this.#cut.delete(pair);
    }
  }

  /** What `from` sends to `to` goes to nobody. */
  async #deaf(from: LabHost, to: LabHost): Promise<void> {
    await run(
      "ip",
      "-n",
      from.name,
      "neigh",
      "replace",
      to.address,
      "lladdr",
      NOBODY,
      "nud",
      "permanent",
      "dev",
      "eth0",
    );
    this.#cut.add(`${from.name} ${to.address}`);
  }
}

/** @throws Error with what the command says when it fails */
async function run(...command: readonly string[]): Promise<void> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const said = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")}: ${said}`);
}
