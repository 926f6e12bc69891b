/** Which items of fan-outs are read, and when again. */
import { expect, test } from "bun:test";
import type { ItemSummary, RunDetails } from "../../src/contract/messages.ts";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import { readItems } from "../../src/tui/feeds/item-feed.ts";
import { listState } from "../../src/tui/navigation.ts";
import { FANS, state } from "./fixtures.ts";

const id = FANS.workflow_instance_id;
type Asked = Parameters<Parameters<typeof readItems>[0]["listItems"]>[0];

/** A screen with the fan-out unfolded, at `top`; the principal answers with items of the given status. */
function screen(options: { status?: ItemSummary["status"]; items?: number; top?: number } = {}) {
  const s = state(80, 24, { kind: "run", id, pane: "tasks" });
  s.data.items = new Map();
  s.unfolded = new Set([`${id} load`]);
  const asked: Asked[] = [];
  let answer = (request: Asked): ItemSummary[] => {
    const first = (request.after_index ?? -1) + 1;
    const last = Math.min(
      request.before_index ?? 5000,
      first + (request.limit ?? 100),
      options.items ?? 5000,
    );
    const [like] = FANS.tasks;
    if (like === undefined) throw new Error("the fixture has tasks");
    return Array.from({ length: Math.max(0, last - first) }, (_, i) => ({
      ...{ ...like, status: options.status ?? "COMPLETED" },
      ...{ item_key: `k${first + i}`, item_index: first + i },
    }));
  };
  const client = {
    listItems: async (request: Asked) => {
      asked.push(request);
      return answer(request);
    },
  };
  const store = { update: (change: (state: typeof s) => void) => change(s), state: s };
  const read = () => readItems(client, store, { timeoutMs: 1000, signal: new AbortController().signal });
  const at = (top: number) => Object.assign(listState(s, `tasks:${id}`), { top, index: top });
  const end = (status: RunDetails["status"]) => {
    s.data.runDetails = new Map(s.data.runDetails).set(id, { ...FANS, status, finished_at_ms: s.now });
  };
  at(options.top ?? 0);
  const fails = (error: Error) => {
    answer = () => {
      throw error;
    };
  };
  return { s, asked, read, at, end, fails, known: () => s.data.items.get(`${id} load`) };
}

test("a page at a time, near the rows in sight; one whose items are all over is read once", async () => {
  const { asked, read, at, known } = screen();
  await read();
  await read();
  expect(asked).toEqual([{ workflow_instance_id: id, task_id: "load", before_index: 200, limit: 200 }]);
  at(400);
  await read();
  expect(asked.slice(1)).toMatchObject([
    { after_index: 199, before_index: 400 },
    { after_index: 399, before_index: 600 },
  ]);
  expect([...(known()?.pages.keys() ?? [])]).toEqual([0, 1, 2]);
});

test("a page with items under way is read again until the run is over, and then once more", async () => {
  const { asked, read, end } = screen({ status: "RUNNING" });
  await read();
  await read();
  end("CANCELLED");
  await read();
  await read();
  expect(asked.length).toBe(3);
});

test("however far somebody scrolls, few pages are kept", async () => {
  const { read, at, known } = screen();
  for (let top = 0; top < 5000; top += 100) {
    at(top);
    await read();
  }
  expect(known()?.pages.size).toBe(20);
  expect(known()?.pages.has(24)).toBe(true);
  expect(known()?.pages.has(0)).toBe(false);
});

test("a filter is asked with its words, and again when it changes", async () => {
  const { s, asked, read, end, known } = screen({ items: 3 });
  end("COMPLETED");
  const list = listState(s, `tasks:${id}`);
  list.filter = " k1  !failed ! ";
  await read();
  await read();
  list.filter = "k";
  await read();
  expect(asked.map(({ words }) => words)).toEqual([["k1", "!failed"], ["k"]]);
  expect(known()?.found).toMatchObject({ filter: "k", hasMore: false });
});

test("a refusal is shown and not repeated; a principal that is away is for the feed to tell", async () => {
  const refused = screen();
  refused.fails(new Error("only the history has this run"));
  await refused.read();
  await refused.read();
  expect(refused.asked.length).toBe(1);
  expect(refused.known()?.error).toBe("only the history has this run");
  const away = screen();
  away.fails(new PrincipalUnreachableError("no answer"));
  await expect(away.read()).rejects.toThrow("no answer");
  expect(away.known()).toBeUndefined();
});
