import { expect, test } from "bun:test";
import { TaskSlots } from "../../src/agent/task-slots.ts";

test("as many start at once as there are slots, the rest when one is given back", () => {
  const slots = new TaskSlots(2);
  const started: string[] = [];
  for (const name of ["a", "b", "c"]) slots.request("run", () => started.push(name));
  expect(started).toEqual(["a", "b"]);
  slots.release();
  expect(started).toEqual(["a", "b", "c"]);
  expect(slots.used).toBe(2);
  slots.release();
  slots.release();
  expect(slots.used).toBe(0);
});

test("runs take turns, however many tasks each has ready", () => {
  const slots = new TaskSlots(1);
  const started: string[] = [];
  for (let i = 0; i < 4; i++) slots.request("large", () => started.push(`large ${i}`));
  for (let i = 0; i < 2; i++) slots.request("small", () => started.push(`small ${i}`));
  slots.request("late", () => started.push("late"));
  for (let i = 0; i < 6; i++) slots.release();
  expect(started).toEqual(["large 0", "large 1", "small 0", "late", "large 2", "small 1", "large 3"]);
});

test("a withdrawn request never starts, and does not occupy a slot", () => {
  const slots = new TaskSlots(1);
  const started: string[] = [];
  slots.request("a", () => started.push("first"));
  const withdraw = slots.request("b", () => started.push("withdrawn"));
  slots.request("b", () => started.push("second"));
  withdraw();
  withdraw();
  slots.release();
  expect(started).toEqual(["first", "second"]);
  slots.release();
  expect(slots.used).toBe(0);
});

test("nothing starts while there is no room for what tasks publish; what runs goes on, and a request can be withdrawn", async () => {
  let room: PromiseWithResolvers<void> | undefined;
  const slots = new TaskSlots(2, () => room?.promise);
  const started: string[] = [];
  const request = (name: string) => slots.request("run", () => started.push(name));
  request("a");
  room = Promise.withResolvers();
  request("b");
  const withdraw = request("c");
  request("d");
  withdraw();
  slots.release();
  expect([started, slots.used]).toEqual([["a"], 0]);
  const { resolve } = room;
  room = undefined;
  resolve();
  await Promise.resolve();
  expect([started, slots.used]).toEqual([["a", "b", "d"], 2]);
});
