import { expect, test } from "bun:test";
import { HistoryUnavailableError } from "../../src/contract/history.ts";
import { CdktrError, InvalidInputError, NotFoundError, UnprocessableError } from "../../src/errors.ts";
import { MessageLink } from "../../src/protocol/message-link.ts";

interface Calls {
  readonly double: { readonly request: number; readonly reply: number };
  readonly fail: { readonly request: string; readonly reply: null };
  readonly hang: { readonly request: null; readonly reply: null };
}
interface News {
  readonly said: string;
}

/** Two ends; texts arrive in a later turn, in order. */
function pair(fail: (kind: string) => Error = () => new Error("no")) {
  const heard: string[] = [];
  let tell = () => {};
  const asking: MessageLink<Calls, News, object, News> = new MessageLink<Calls, News, object, News>({
    send: (text) => queueMicrotask(() => answering.take(text)),
    answers: {},
    ears: { said: (text) => heard.push(text) },
  });
  const answering: MessageLink<object, News, Calls, News> = new MessageLink<object, News, Calls, News>({
    send: (text) => queueMicrotask(() => asking.take(text)),
    answers: {
      double: async (number) => 2 * number,
      fail: (kind) => {
        throw fail(kind);
      },
      hang: () => new Promise<null>(() => {}),
    },
    ears: { said: (text) => heard.push(`other: ${text}`) },
    beforeReply: () => tell(),
  });
  const onReply = (what: () => void) => {
    tell = what;
  };
  return { asking, answering, heard, onReply };
}

test("requests are answered, each with its own reply", async () => {
  const { asking } = pair();
  expect(await Promise.all([1, 2, 3].map((number) => asking.ask("double", number)))).toEqual([2, 4, 6]);
  expect(asking.pending).toBe(0);
});

test("errors keep their class, their message and their hint; of others only the message travels", async () => {
  const errors: Record<string, Error> = {
    InvalidInputError: new InvalidInputError("bad", { hint: "mend it" }),
    NotFoundError: new NotFoundError("gone"),
    HistoryUnavailableError: new HistoryUnavailableError("away", { hint: "later" }),
    CdktrError: new CdktrError("inside"),
    Error: new TypeError("x is undefined"),
  };
  const { asking } = pair((kind) => errors[kind] ?? new Error(kind));
  for (const [kind, thrown] of Object.entries(errors)) {
    const error = await asking.ask("fail", kind).catch((caught) => caught);
    expect(error.constructor.name).toBe(kind);
    expect(error.message).toBe(thrown.message);
    expect(error.hint).toBe((thrown as CdktrError).hint);
  }
  const unavailable = await asking.ask("fail", "HistoryUnavailableError").catch((caught) => caught);
  expect(unavailable).toBeInstanceOf(UnprocessableError);
});

test("who gets a reply has heard what was told before it", async () => {
  const { asking, answering, heard, onReply } = pair();
  onReply(() => answering.tell("said", "first"));
  await asking.ask("double", 1);
  expect(heard).toEqual(["first"]);
});

test("a reply that comes late is an error of the caller's choice, and the end of the link rejects the rest", async () => {
  const { asking } = pair();
  const late = asking.ask("hang", null, { ms: 5, error: () => new CdktrError("too late") });
  await expect(late).rejects.toThrow("too late");
  const hanging = asking.ask("hang", null);
  expect(asking.waitsFor("hang")).toBe(true);
  asking.end(new HistoryUnavailableError("it has ended"));
  await expect(hanging).rejects.toThrow("it has ended");
  await expect(asking.ask("double", 1)).rejects.toThrow("it has ended");
});
