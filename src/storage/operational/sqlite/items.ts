/** Statements about fan-outs and their items, which are task runs with a key. */
import { nodeId } from "../../../workflow/item-id.ts";
import type {
  FanOutRecord,
  ItemCount,
  ItemIntentions,
  ItemOutputs,
  ItemsToStop,
  TaskRunState,
} from "../store.ts";
import { TASK_STATE_COLUMNS } from "./leases.ts";
import type { Statements } from "./statements.ts";
import { listOf } from "./stored-json.ts";

const ITEMS = "task_runs INDEXED BY task_runs_items";
/** The newest task run of each item: one that COMPLETED does not run again. */
const newest = (condition: string) =>
  `SELECT max(seq) AS seq FROM ${ITEMS} WHERE workflow_instance_id = ?1 AND item_key IS NOT NULL ${condition} GROUP BY task_id, item_index`;

const COUNTS = `SELECT task_id, status, count(*) AS items FROM task_runs WHERE seq IN (${newest("")}) GROUP BY task_id, status`;

/** An agent's attempts at slices of runs in which a fan-out was cut. */
type AttemptOfCut = Omit<ItemsToStop, "items"> & {
  readonly task_id: string;
  /** JSON. */
  readonly tasks: string;
  readonly items: string;
};

/** See queue.ts about the parameter. */
const CUT = `SELECT a.workflow_instance_id, a.slice, a.attempt, a.session_id, f.task_id, s.tasks, f.items
  FROM slice_attempts AS a
  CROSS JOIN fan_outs AS f ON f.workflow_instance_id = a.workflow_instance_id AND f.is_cut = 1
  CROSS JOIN slices AS s ON s.workflow_instance_id = a.workflow_instance_id AND s.slice = a.slice
  WHERE a.lease IN ('OFFERED', 'HELD') AND a.agent_id = (SELECT ?1)`;

const CARRIED = `${TASK_STATE_COLUMNS}, outputs, outputs_row, outputs_moved`;
/** Carried task runs belong to no slice and no attempt. */
const OWN: Readonly<Record<string, string>> = { workflow_instance_id: "?2", slice: "0", attempt: "0" };
const CARRY = `INSERT INTO task_runs (${CARRIED})
  SELECT ${CARRIED.split(", ")
    .map((column) => OWN[column] ?? column)
    .join(", ")} FROM task_runs
  WHERE seq IN (${newest("AND task_id IN (SELECT value FROM json_each(?3))")}) AND status = 'COMPLETED'
    AND task_id || '[' || item_key || ']' NOT IN (SELECT value FROM json_each(?4)) ORDER BY seq`;

const ID_AND_STATUS = "lower(task_id || '[' || item_key || '] ' || status)";
const LIST = `SELECT ${TASK_STATE_COLUMNS} FROM task_runs
  WHERE seq IN (${newest("AND task_id = ?2 AND item_index > ?3 AND item_index < ?6")}) AND (?5 IS NULL OR status = ?5)
    AND NOT EXISTS (SELECT 1 FROM json_each(?7) AS word
      WHERE (instr(${ID_AND_STATUS}, word.value ->> 'text') > 0) = (word.value ->> 'is_not'))
  ORDER BY item_index LIMIT ?4`;

/** How many items' outputs are read at once: each may be large. */
const OUTPUTS_PAGE = 50;
const OUTPUTS = `SELECT task_id, item_key, item_index, outputs FROM ${ITEMS}
  WHERE workflow_instance_id = ? AND task_id = ? AND item_index > ? AND item_key IS NOT NULL AND status = 'COMPLETED' AND outputs IS NOT NULL
  GROUP BY item_index ORDER BY item_index LIMIT ?`;

type KnownItems = ReadonlyMap<string, { readonly key: string; readonly index: number }>;

/** The items of a fan-out by the ids of their nodes; none if they are damaged. @param json as stored */
function parsedItems(task: string, json: string): KnownItems {
  try {
    const items = JSON.parse(json) as { key: string }[];
    return new Map(items.map(({ key }, index) => [nodeId(task, key), { key, index }]));
  } catch {
    return new Map();
  }
}

/** The operations of a unit of work on fan-outs. */
export function itemIntentions(db: Statements): ItemIntentions {
  // Asked at each heartbeat until the last of them has stopped.
  let last = { task: "", json: "", items: new Map() as KnownItems };
  const itemsOf = (task: string, json: string): KnownItems => {
    if (last.task !== task || last.json !== json) last = { task, json, items: parsedItems(task, json) };
    return last.items;
  };

  return {
    async putFanOut(runId, taskId, items) {
      db.run(
        "INSERT OR REPLACE INTO fan_outs (workflow_instance_id, task_id, items, is_cut) VALUES (?, ?, ?, 0)",
        runId,
        taskId,
        items,
      );
    },

    async cutFanOut(runId, taskId, isCut) {
      const sql = "UPDATE fan_outs SET is_cut = ? WHERE workflow_instance_id = ? AND task_id = ?";
      db.run(sql, isCut ? 1 : 0, runId, taskId);
    },

    async carryItems(runId, toRunId, fanOuts, except = []) {
      db.run(CARRY, runId, toRunId, JSON.stringify(fanOuts), JSON.stringify(except));
    },

    async restoreOutputs(runId, outputs) {
      for (const [id, json] of outputs)
        db.run(
          "UPDATE task_runs SET outputs = ?, outputs_moved = 0 WHERE workflow_instance_id = ? AND task_instance_id = ? AND outputs IS NULL",
          json,
          runId,
          id,
        );
    },

    async fanOutsOf(runId) {
      return db
        .all<Omit<FanOutRecord, "is_cut"> & { is_cut: number }>(
          "SELECT task_id, items, is_cut FROM fan_outs WHERE workflow_instance_id = ?",
          runId,
        )
        .map((row) => ({ ...row, is_cut: row.is_cut === 1 }));
    },

    async countItems(runId) {
      return db.all<ItemCount>(COUNTS, runId);
    },

    async listItems(
      runId,
      taskId,
      { status = null, afterIndex = -1, beforeIndex = Number.MAX_SAFE_INTEGER, words = [], limit },
    ) {
      const asked = words.map((word) => {
        const isNot = word.startsWith("!") && word.length > 1;
        return { text: (isNot ? word.slice(1) : word).toLowerCase(), is_not: isNot ? 1 : 0 };
      });
      return db.all<TaskRunState>(
        LIST,
        runId,
        taskId,
        afterIndex,
        limit,
        status,
        beforeIndex,
        JSON.stringify(asked),
      );
    },

    async itemOutputs(runId, taskIds, mostBytes, afterIndex = -1) {
      const found: ItemOutputs[] = [];
      let bytes = 0;
      for (const id of taskIds) {
        for (let [page, last] = [OUTPUTS_PAGE, afterIndex]; page === OUTPUTS_PAGE; ) {
          const rows = db.all<ItemOutputs>(OUTPUTS, runId, id, last, OUTPUTS_PAGE);
          for (const row of rows) {
            found.push(row);
            bytes += Buffer.byteLength(row.outputs);
            if (bytes > mostBytes) return found;
          }
          page = rows.length;
          last = rows.at(-1)?.item_index ?? last;
        }
      }
      return found;
    },

    async completedItems(runId) {
      return db.all<Pick<ItemOutputs, "task_id" | "item_key" | "item_index">>(
        `SELECT task_id, item_key, item_index FROM ${ITEMS}
         WHERE workflow_instance_id = ? AND item_key IS NOT NULL AND status = 'COMPLETED' GROUP BY task_id, item_index`,
        runId,
      );
    },

    async itemsToStop(agentId) {
      const rows = db.all<AttemptOfCut>(CUT, agentId);
      return rows.flatMap(({ task_id, tasks, items, ...attempt }) => {
        const known = itemsOf(task_id, items);
        const found = (listOf(tasks) ?? []).flatMap((id) => {
          const item = known.get(id);
          return item === undefined ? [] : [{ task_id, ...item }];
        });
        return found.length === 0 ? [] : [{ ...attempt, items: found }];
      });
    },
  };
}
