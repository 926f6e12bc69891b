import { expect, test } from "bun:test";
import { PriorityQueue } from "../../src/events/priority-queue.ts";

test("gives items in the order of their numbers, whatever the order they came in", () => {
  let seed = 12345;
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed;
  };
  const queue = new PriorityQueue<string>();
  const numbers: number[] = [];
  const out: number[] = [];
  for (let i = 0; i < 5000; i++) {
    if (random() % 3 === 0 && queue.size > 0) {
      const first = queue.peek();
      const popped = queue.pop();
      expect(popped).toEqual(first as { priority: number; item: string });
      const smallest = Math.min(...numbers);
      expect(popped?.priority).toBe(smallest);
      expect(popped?.item).toBe(String(smallest));
      numbers.splice(numbers.indexOf(smallest), 1);
    } else {
      const number = random() % 500;
      numbers.push(number);
      queue.push(number, String(number));
    }
    expect(queue.size).toBe(numbers.length);
  }
  while (queue.size > 0) out.push(queue.pop()?.priority ?? -1);
  expect(out).toEqual([...numbers].sort((a, b) => a - b));
  expect(queue.pop()).toBeUndefined();
  expect(queue.peek()).toBeUndefined();
});
