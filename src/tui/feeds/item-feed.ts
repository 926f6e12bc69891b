/** Reads the items of fan-outs that the screen shows. */
import type { RunDetails } from "../../contract/messages.ts";
import { errorMessage, PrincipalUnreachableError } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { filterWords, type WantedItems, wantedItems } from "../lists/task-rows.ts";
import { currentPage } from "../navigation.ts";
import { type FanOutItems, fanOutName, ITEMS_PER_PAGE, type State } from "../state.ts";
import type { Store } from "../store.ts";
import { isOpen } from "./merge-runs.ts";

/** Pages that are kept of a fan-out. */
const KEPT_PAGES = 20;
/** What a filter shows of a fan-out at most. */
const MOST_FOUND = 1000;

const NOTHING: FanOutItems = { pages: new Map(), open: new Set(), found: null, error: null };
const UNDER_WAY: ReadonlySet<string> = new Set(["PENDING", "RUNNING", "WAITING"]);

type Items = Pick<PrincipalClient, "listItems">;

interface Request {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** The parts of fan-outs that the current page shows. */
export function itemsInSight(state: State): WantedItems[] {
  const page = currentPage(state);
  if (page.kind !== "run" || (page.pane !== "tasks" && page.pane !== "gantt")) return [];
  const run = state.data.runDetails.get(page.id);
  return run === undefined ? [] : wantedItems(state, run, state.lists[`tasks:${page.id}`]);
}

/** Reads what is in sight and may have changed. */
export async function readItems(client: Items, store: Store, request: Request): Promise<void> {
  for (const wanted of itemsInSight(store.state)) {
    const run = store.state.data.runDetails.get(wanted.runId);
    if (run === undefined || !mayHaveChanged(store.state, run, wanted)) continue;
    await read(client, store, request, wanted).catch((error) => {
      if (error instanceof PrincipalUnreachableError || request.signal.aborted) throw error;
      change(store, wanted, () => ({ ...NOTHING, error: errorMessage(error) }));
    });
  }
}

/** Whether a part has to be read: it was not, or its items were under way when it was. */
function mayHaveChanged(state: State, run: RunDetails, { taskId, part }: WantedItems): boolean {
  const known = state.data.items.get(fanOutName(run.workflow_instance_id, taskId));
  if (known === undefined) return true;
  if (known.error !== null) return false;
  const total = run.tasks.find(({ task_id }) => task_id === taskId)?.items?.total ?? 0;
  if (typeof part === "string") return known.found?.filter !== part || isOpen(run) || known.found.isOpen;
  const items = known.pages.get(part);
  if (items === undefined) return true;
  const whole = items.length === Math.min(ITEMS_PER_PAGE, total - part * ITEMS_PER_PAGE);
  if (whole && !items.some(({ status }) => UNDER_WAY.has(status))) return false;
  return isOpen(run) || known.open.has(part);
}

async function read(client: Items, store: Store, request: Request, wanted: WantedItems): Promise<void> {
  const { runId, taskId, part } = wanted;
  const fanOut = { workflow_instance_id: runId, task_id: taskId };
  const run = store.state.data.runDetails.get(runId);
  const open = run === undefined || isOpen(run);
  if (typeof part === "string") {
    const items = await client.listItems({ ...fanOut, words: filterWords(part), limit: MOST_FOUND }, request);
    const found = { filter: part, items, hasMore: items.length === MOST_FOUND, isOpen: open };
    change(store, wanted, (known) => ({ ...known, found }));
    return;
  }
  const first = part * ITEMS_PER_PAGE;
  const items = await client.listItems(
    {
      ...fanOut,
      ...(first === 0 ? {} : { after_index: first - 1 }),
      before_index: first + ITEMS_PER_PAGE,
      limit: ITEMS_PER_PAGE,
    },
    request,
  );
  change(store, wanted, (known) => {
    const pages = new Map(known.pages);
    // The newest last: the first ones go.
    pages.delete(part);
    pages.set(part, items);
    for (const old of pages.keys()) {
      if (pages.size <= KEPT_PAGES) break;
      pages.delete(old);
    }
    const underWay = new Set(known.open);
    if (open) underWay.add(part);
    else underWay.delete(part);
    return { ...known, pages, open: underWay };
  });
}

function change(
  store: Store,
  { runId, taskId }: WantedItems,
  update: (known: FanOutItems) => FanOutItems,
): void {
  store.update(({ data }) => {
    const name = fanOutName(runId, taskId);
    data.items = new Map(data.items).set(name, update(data.items.get(name) ?? NOTHING));
  });
}
