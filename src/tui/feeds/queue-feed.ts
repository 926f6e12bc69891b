/** Reads the queue, pools and backfills, and the forecast, while their pages are shown. */
import { errorMessage, PrincipalUnreachableError } from "../../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../protocol/client.ts";
import { currentPage } from "../navigation.ts";
import type { Data, State } from "../state.ts";
import type { Store } from "../store.ts";

/** How much of the queue is read. */
const MOST_ENTRIES = 500;
/** Firings that are read to tell of them in words. */
const MOST_FIRINGS = 1000;
/** A forecast that is older is read again, ms. */
const FRESH_MS = 30_000;
/** Computing it takes at most a twentieth of the principal's time. */
const IDLE_SHARE = 19;
const QUARTER_MS = 900_000;
export const DAY_MS = 86_400_000;

type Client = Pick<PrincipalClient, "call">;

interface Request {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Reads what the queue page shows. */
export async function readQueue(client: Client, store: Store, request: Request): Promise<void> {
  if (currentPage(store.state).kind !== "queue" || store.state.data.queueMissing !== null) return;
  await reading(store, request, "queueMissing", "the queue", async () => {
    const [queue, pools, backfills] = await Promise.all([
      client.call("LSQUEUE", { limit: MOST_ENTRIES }, request),
      client.call("LSPOOLS", {}, request),
      client.call("LSBACKFILLS", { open: true, limit: 100 }, request),
    ]);
    const read = { queue, pools, backfills };
    if (JSON.stringify(read) === JSON.stringify(store.state.data.queue)) return;
    store.update(({ data }) => {
      data.queue = read;
    });
  });
}

/** From when the calendar reaches, ms since the epoch. */
function calendarFrom({ now, calendarShiftMs }: Pick<State, "now" | "calendarShiftMs">): number {
  return Math.floor(now / QUARTER_MS) * QUARTER_MS + calendarShiftMs;
}

/** Reads the forecast that the calendar shows, now and then. */
export class ForecastFeed {
  #againAt = 0;
  #fromMs: number | null = null;

  /** @param now whether to read it at once */
  async read(client: Client, store: Store, request: Request, now = false): Promise<void> {
    const { state } = store;
    if (currentPage(state).kind !== "calendar" || state.data.forecastMissing !== null) return;
    const from_ms = calendarFrom(state);
    if (!now && this.#fromMs === from_ms && performance.now() < this.#againAt) return;
    const began = performance.now();
    await reading(store, request, "forecastMissing", "forecasts", async () => {
      const forecast = await client.call(
        "FORECAST",
        { from_ms, to_ms: from_ms + DAY_MS, limit: MOST_FIRINGS },
        { ...request, timeoutMs: 30_000 },
      );
      store.update(({ data }) => {
        data.forecast = forecast;
      });
    });
    const took = performance.now() - began;
    this.#fromMs = from_ms;
    this.#againAt = performance.now() + Math.max(FRESH_MS, took * IDLE_SHARE);
  }
}

/** An older principal does not know this. What cannot be told now is told in a later round. */
async function reading(
  store: Store,
  { signal }: Request,
  missing: "queueMissing" | "forecastMissing",
  what: string,
  read: () => Promise<void>,
): Promise<void> {
  try {
    await read();
  } catch (error) {
    if (error instanceof PrincipalUnreachableError || signal.aborted) throw error;
    if (!(error instanceof RequestRefusedError)) return;
    const text: Data["queueMissing"] = `This principal cannot tell of ${what}: ${errorMessage(error)}`;
    store.update(({ data }) => {
      data[missing] = text;
    });
  }
}
