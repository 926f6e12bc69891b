/** The clients of the original implementation of cdktr, in Rust: what they are served beyond the rest, and what not. */
import type { ConsolaInstance } from "consola";
import { UnprocessableError } from "../../errors.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { factsOf } from "../../workflow/kinds/index.ts";
import type { TaskConfig, WorkflowDefinition } from "../../workflow/model.ts";
import type { Request } from "./requests.ts";

/** How a peer introduced itself when it connected. */
export interface PeerTraits {
  /** It is a plain REQ socket, as the original's clients are; cdktr's own are not. */
  readonly isPlain: boolean;
  /** It did not say whether it has a name: the original's ZeroMQ library does not, libzmq always does. */
  readonly isNameless: boolean;
  /** The user whose process it is, where there are no keys; undefined where that is not known. */
  readonly user?: string | undefined;
  /** The address of its connection. */
  readonly address?: string | undefined;
  /** How long ago its request arrived, ms, where nobody could answer it at once; absent for a moment. */
  readonly heldMs?: number | undefined;
}

/**
 * Refuses an agent of the original implementation. It could not read the run that it is given: it would execute nothing, or its tasks under
 * run ids of its own. An agent that is not one of those, but whose library is like theirs, gives options, `{}` for instance.
 * @throws UnprocessableError
 */
export function refuseOriginalAgent({ verb, fields }: Request, peer: PeerTraits, log: ConsolaInstance): void {
  if (verb !== "REGISTERAGENT" && verb !== "FETCHWORKFLOW") return;
  if (!peer.isPlain || !peer.isNameless || (fields[1] ?? "") !== "") return;
  const [id = ""] = fields;
  if (verb === "REGISTERAGENT") {
    log.warn(
      `The agent ${quote(id)} of the original implementation of cdktr (Rust) is refused: it cannot execute runs of this principal. Start 'cdktr start agent' of this cdktr on its host instead.`,
    );
  }
  throw new UnprocessableError(
    "This principal is not of the original implementation of cdktr (Rust): its agents cannot execute runs of this one. Start 'cdktr start agent' of the principal's own cdktr instead.",
  );
}

/** A task as the original writes it. */
interface OriginalTask {
  readonly name: string;
  readonly description: string | null;
  readonly depends: readonly string[];
  readonly config: { readonly Subprocess: { readonly cmd: string; readonly args: readonly string[] } };
}

function programOf(config: TaskConfig): readonly string[] {
  switch (config.type) {
    case "Subprocess":
      return [config.cmd, ...config.args];
    case "UvPython":
      return ["uv", "run", config.script_path, ...config.args];
    default:
      return ["sh", "-c", ...factsOf(config).command(config)];
  }
}

/** The graph of a workflow as the original writes it (the JSON of its graph library), without which its clients show no workflows. */
export function originalDag({ name, tasks }: WorkflowDefinition): Readonly<Record<string, unknown>> {
  const index = new Map(tasks.map(({ id }, at) => [id, at]));
  const taskMap: Record<string, OriginalTask> = {};
  for (const { id, name: taskName, description, depends, config } of tasks) {
    // It knows programs only. They are shown, not run.
    const [cmd = "", ...args] = programOf(config);
    taskMap[id] = { name: taskName, description, depends, config: { Subprocess: { cmd, args } } };
  }
  return {
    name,
    task_id_node_ix_map: Object.fromEntries(index),
    task_map: taskMap,
    inner: {
      nodes: tasks.map(({ id }) => id),
      node_holes: [],
      edge_property: "directed",
      edges: tasks.flatMap(({ id, depends }) =>
        depends.map((before) => [index.get(before), index.get(id), 0]),
      ),
    },
    first_tasks: tasks.filter(({ depends }) => depends.length === 0).map(({ id }) => id),
  };
}
