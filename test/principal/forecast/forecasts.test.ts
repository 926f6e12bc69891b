/** How forecasts are asked for. What they say: forecast.test.ts and day.test.ts. */
import { expect, test } from "bun:test";
import { Forecasts } from "../../../src/principal/forecast/forecasts.ts";
import { ManualClock } from "../../support/manual-clock.ts";

test("a question that is repeated before it has its answer is computed once", async () => {
  let reads = 0;
  const store = {
    read: () => {
      reads++;
      return Promise.reject(new Error("the disk is away"));
    },
  };
  type Options = ConstructorParameters<typeof Forecasts>[0];
  const forecasts = new Forecasts({ clock: new ManualClock(), store } as unknown as Options);
  const asked = [{ limit: 10 }, { limit: 10 }, { limit: 20 }, { limit: 10 }] as const;
  const answers = await Promise.allSettled(asked.map((request) => forecasts.of(request)));
  expect(answers.map(({ status }) => status)).toEqual(asked.map(() => "rejected"));
  expect(reads).toBe(2);
  // Once it is answered, it is computed anew.
  await forecasts.of({ limit: 10 }).catch(() => {});
  expect(reads).toBe(3);
});
