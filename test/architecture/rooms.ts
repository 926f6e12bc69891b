/** The rooms of the code and which may import which. */
import { chain, type Import, reachable } from "./imports.ts";

/** What each room may import besides itself and the ground floor. A room must be listed here. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  main: ["cli"],
  cli: [
    "tui",
    "doctor",
    "systemd",
    "project",
    "principal",
    "agent",
    "history",
    "events",
    "sdk",
    "docs",
    "metrics",
    "protocol",
    "storage",
    "workflow",
    "zmq",
    "native",
    "contract",
    "terminal",
  ],
  // Looks at everything that the other rooms need of a host.
  doctor: ["agent", "history", "protocol", "storage", "zmq", "native", "contract"],
  systemd: [],
  // Plans and writes the files of a new project; who is asked, and what else is set up, is the command's.
  project: ["workflow", "terminal"],
  tui: ["protocol", "workflow", "zmq", "contract", "terminal"],
  // The principal starts the listeners of what workflow files declare, which in turn speak to it only through the API.
  principal: ["events", "metrics", "protocol", "storage", "blobs", "workflow", "zmq", "contract", "terminal"],
  // Log intake, live publishing, DuckDB. It and the principal speak through contract/history.ts, and never import each other.
  history: ["protocol", "storage", "workflow", "zmq", "native", "contract", "terminal"],
  agent: ["protocol", "blobs", "workflow", "zmq", "native", "contract"],
  events: ["protocol", "workflow", "zmq", "contract"],
  // The pages for scrapers, and who serves them.
  metrics: [],
  sdk: ["events", "protocol", "workflow", "zmq", "contract"],
  storage: ["workflow", "contract"],
  // Files by hash: those of the principal, on its disk or in a bucket, and those that an agent keeps.
  blobs: [],
  protocol: ["workflow", "zmq", "contract", "terminal"],
  // What travels: verbs, roles, messages, the form of a frame and of a log line.
  contract: ["workflow"],
  workflow: ["terminal"],
  // How text looks on a terminal: widths, foreign text, graphs, "did you mean".
  terminal: [],
  zmq: ["native"],
  native: [],
  // Shows the examples of listeners.
  docs: ["sdk", "workflow"],
  // Its log shows text of others.
  ground: ["terminal"],
};

/** Folders of what every room stands on, as the files directly in src/ are. */
const GROUND: ReadonlySet<string> = new Set(["host", "migrations"]);

/** The room of a file; the files directly in src/ and in {@link GROUND} are the ground floor, except the entry. */
export function roomOf(path: string): string {
  const [, folder = "", ...rest] = path.split("/");
  if (path === "src/main.ts") return "main";
  return rest.length > 0 && !GROUND.has(folder) ? folder : "ground";
}

/** The rooms as if each were a file that imports all that it may, to look for circles among them. */
export function roomsAsFiles(mayImport: Readonly<Record<string, readonly string[]>>): Map<string, Import[]> {
  return new Map(
    Object.entries(mayImport).map(([from, rooms]) => [
      from,
      rooms.map((to) => ({ from, line: 1, to, relative: true })),
    ]),
  );
}

/** A sentence for every import that points where it must not, with file and line. */
export function wrongDirections(imports: ReadonlyMap<string, readonly Import[]>): string[] {
  const wrong: string[] = [];
  for (const [path, steps] of imports) {
    const room = roomOf(path);
    const allowed = MAY_IMPORT[room];
    if (allowed === undefined) {
      wrong.push(
        `${path}: there is no room "${room}"; add it to test/architecture/rooms.ts with what it may import`,
      );
      continue;
    }
    for (const step of steps) {
      if (!step.relative) continue;
      if (!step.to.startsWith("src/")) {
        if (step.to === "package.json") continue;
        wrong.push(`${path}:${step.line} leaves src/: ${step.to}`);
        continue;
      }
      const target = roomOf(step.to);
      if (target === room || target === "ground" || allowed.includes(target)) continue;
      wrong.push(`${path}:${step.line} imports ${step.to}, but ${room} may not import ${target}`);
    }
  }
  return wrong;
}

/**
 * The folders of each room as if each were a file: `src/tui/views/log.ts` counts as `src/tui/views`. What lies in the room itself
 * is left out: it is either what the folders stand on or what puts them together.
 */
export function foldersInRooms(imports: ReadonlyMap<string, readonly Import[]>): Map<string, Import[]> {
  const folders = new Map<string, Import[]>();
  for (const [path, steps] of imports) {
    const from = folderOf(path);
    if (from === undefined) continue;
    const found = folders.get(from) ?? [];
    folders.set(from, found);
    for (const step of steps) {
      const to = folderOf(step.to);
      if (to !== undefined && to !== from && roomOf(path) === roomOf(step.to)) {
        found.push({ ...step, from: path, to });
      }
    }
  }
  return folders;
}

function folderOf(path: string): string | undefined {
  const parts = path.split("/");
  return parts.length > 3 ? parts.slice(0, 3).join("/") : undefined;
}

/** How the agent reaches the history or DuckDB, when it does. */
export function agentReachesHistory(imports: ReadonlyMap<string, readonly Import[]>): string[] {
  const agent = [...imports.keys()].filter((path) => roomOf(path) === "agent");
  const reached = reachable(agent, imports);
  return [...reached.keys()]
    .filter((target) => target.startsWith("@duckdb/") || roomOf(target) === "history")
    .map((target) => `the agent reaches ${target}:\n    ${chain(target, reached)}`);
}
