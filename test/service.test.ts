import { describe, expect, test } from "bun:test";
import { systemClock } from "../src/clock.ts";
import { EventHub } from "../src/event-hub.ts";
import { BackgroundService, startServices, stopServices } from "../src/service.ts";
import { BackOff, isDoneWithin, pause, Timer } from "../src/timer.ts";
import { ManualClock } from "./support/manual-clock.ts";

/** Says what happens to it; a test decides how long its start and its end take. */
class Probe extends BackgroundService<{ looked: number; ended: undefined }> {
  readonly name: string;
  readonly said: string[] = [];
  readonly time: ManualClock;
  starting: () => Promise<void> | void = () => {};
  ending: () => Promise<void> | void = () => {};
  #looks = 0;
  readonly period = this.timer(() => this.signals.emit("looked", ++this.#looks));

  constructor(name = "probe", clock = new ManualClock()) {
    super(clock);
    this.name = name;
    this.time = clock;
  }

  protected override async onStart(): Promise<void> {
    this.said.push("starts");
    this.period.every(100);
    await this.starting();
    this.said.push("started");
  }

  protected override async onStop(): Promise<void> {
    this.said.push("stops");
    await this.ending();
    this.said.push("stopped");
    this.signals.emit("ended");
  }

  work(work: Promise<unknown>): void {
    this.track(work);
  }

  rest(ms: number): Promise<void> {
    return this.pause(ms);
  }
}

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => "",
    (error: Error) => error.message,
  );

const WHOLE_LIFE = ["starts", "started", "stops", "stopped"];

describe("a background service", () => {
  test("starts once and stops once, no matter who calls and how often", async () => {
    const probe = new Probe();
    await Promise.all([probe.start(), probe.start()]);
    await probe.start();
    await Promise.all([probe.stop(), probe.stop()]);
    await probe.stop();
    expect(probe.said).toEqual(WHOLE_LIFE);
  });

  test("stopped before the start, it does nothing, and can still be started", async () => {
    const probe = new Probe();
    await probe.stop();
    expect([probe.said, probe.isStopping]).toEqual([[], false]);
    await probe.start();
    await probe.stop();
    expect(probe.said).toEqual(WHOLE_LIFE);
  });

  test("stopped while it starts, it comes to the end of the start first, and sees that it is to stop", async () => {
    const probe = new Probe();
    const go = Promise.withResolvers<void>();
    probe.starting = () => go.promise;
    const started = probe.start();
    const stopped = probe.stop();
    expect([probe.said, probe.isStopping]).toEqual([["starts"], true]);
    go.resolve();
    await Promise.all([started, stopped]);
    expect(probe.said).toEqual(WHOLE_LIFE);
    expect(probe.time.alarms).toBe(0);
  });

  test("a start that fails half way is undone before the error is thrown, and may be tried again", async () => {
    const probe = new Probe();
    probe.starting = () => Promise.reject(new Error("the port is taken"));
    expect(await failureOf(probe.start())).toBe("the port is taken");
    expect([probe.said, probe.time.alarms]).toEqual([["starts", "stops", "stopped"], 0]);
    await probe.stop();
    expect(probe.said).toEqual(["starts", "stops", "stopped"]);
    probe.starting = () => {};
    await probe.start();
    expect([probe.said.at(-1), probe.time.alarms]).toEqual(["started", 1]);
    await probe.stop();
  });

  test("a start that fails after a stop was requested ends both", async () => {
    const probe = new Probe();
    const go = Promise.withResolvers<void>();
    probe.starting = () => go.promise;
    const started = probe.start();
    const stopped = probe.stop();
    go.reject(new Error("no disk"));
    expect(await failureOf(started)).toBe("no disk");
    await stopped;
    expect(probe.said).toEqual(["starts", "stops", "stopped"]);
  });

  test("its timers are off before it ends, and cannot be set any more", async () => {
    const probe = new Probe();
    await probe.start();
    probe.ending = () => {
      expect(probe.time.alarms).toBe(0);
      probe.period.in(1);
      probe.period.every(1);
      expect(probe.time.alarms).toBe(0);
    };
    await probe.stop();
    expect(probe.said).toEqual(WHOLE_LIFE);
  });

  test("stop waits for the work that it tracks, also for what comes meanwhile", async () => {
    const probe = new Probe();
    await probe.start();
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    probe.work(first.promise.then(() => probe.work(second.promise)));
    let isStopped = false;
    const stopped = probe.stop().then(() => {
      isStopped = true;
    });
    first.resolve();
    await first.promise;
    await new Promise(setImmediate);
    expect(isStopped).toBe(false);
    second.resolve();
    await stopped;
  });

  test("its pause ends when it is stopped", async () => {
    const probe = new Probe();
    await probe.start();
    const rest = probe.rest(1_000_000);
    await Promise.all([rest, probe.stop()]);
    expect(probe.time.alarms).toBe(0);
  });

  test("it can be started again, with everything it has", async () => {
    const probe = new Probe();
    for (let life = 0; life < 2; life++) {
      await probe.start();
      expect(probe.isStopping).toBe(false);
      const looked = probe.signals.next("looked");
      probe.time.advance(100);
      expect(await looked).toBe(life + 1);
      await probe.stop();
    }
    expect(probe.said).toEqual([...WHOLE_LIFE, ...WHOLE_LIFE]);
  });

  test("an error while stopping reaches all callers, and it is stopped anyway", async () => {
    const probe = new Probe();
    await probe.start();
    probe.ending = () => Promise.reject(new Error("the disk is full"));
    const outcomes = await Promise.allSettled([probe.stop(), probe.stop()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    await probe.stop();
  });
});

describe("signals", () => {
  test("a wait gets the next event, not one from before", async () => {
    const probe = new Probe();
    await probe.start();
    probe.time.advance(100);
    const looked = probe.signals.next("looked");
    const third = probe.signals.next("looked", (count) => count === 3);
    probe.time.advance(200);
    expect([await looked, await third]).toEqual([2, 3]);
    let looks = 3;
    const end = probe.signals.on("looked", (count) => {
      looks = count;
    });
    const fifth = probe.signals.until("looked", () => looks === 5);
    await probe.signals.until("looked", () => looks === 3);
    probe.time.advance(100);
    await Promise.resolve();
    probe.time.advance(100);
    await fifth;
    end();
    const ended = probe.signals.next("ended");
    await probe.stop();
    await ended;
  });

  test("handlers are called in the order in which they were added, until they are removed", () => {
    const hub = new EventHub<{ a: string; b: undefined }>();
    const heard: string[] = [];
    const end = hub.on("a", (text) => heard.push(`1 ${text}`));
    hub.on("a", (text) => heard.push(`2 ${text}`));
    hub.on("b", () => heard.push("b"));
    hub.emit("a", "x");
    end();
    hub.emit("a", "y");
    hub.emit("b");
    expect(heard).toEqual(["1 x", "2 x", "2 y", "b"]);
  });
});

describe("several services", () => {
  test("start in order and stop in reverse; one that cannot start takes the others back", async () => {
    const order: string[] = [];
    const services = ["a", "b", "c"].map((name) => {
      const probe = new Probe(name);
      probe.starting = () => void order.push(`+${name}`);
      probe.ending = () => void order.push(`-${name}`);
      return probe;
    });
    await startServices(services);
    await stopServices(services);
    expect(order).toEqual(["+a", "+b", "+c", "-c", "-b", "-a"]);
    order.length = 0;
    const [, , last] = services;
    if (last !== undefined) last.starting = () => Promise.reject(new Error("no"));
    expect(await failureOf(startServices(services))).toBe("no");
    expect(order).toEqual(["+a", "+b", "-c", "-b", "-a"]);
  });

  test("one that fails to stop does not prevent the others from stopping; its error is thrown at the end", async () => {
    const services = ["a", "b", "c"].map((name) => new Probe(name));
    await startServices(services);
    for (const probe of services.slice(1)) probe.ending = () => Promise.reject(new Error(probe.name));
    expect(await failureOf(stopServices(services))).toBe("c");
    expect(services[0]?.said).toEqual(WHOLE_LIFE);
  });
});

describe("a timer", () => {
  function timed(): { clock: ManualClock; timer: Timer; rung: number[] } {
    const clock = new ManualClock();
    const rung: number[] = [];
    return { clock, rung, timer: new Timer(() => rung.push(clock.monotonic()), clock) };
  }

  test("rings once, at the time that was set last", () => {
    const { clock, timer, rung } = timed();
    timer.in(100);
    timer.in(200);
    expect(timer.isSet).toBe(true);
    clock.advance(1000);
    expect([rung, timer.isSet, clock.alarms]).toEqual([[200], false, 0]);
  });

  test("keeps a time that is set, when asked to ring within another", () => {
    const { clock, timer, rung } = timed();
    timer.within(100);
    clock.advance(50);
    timer.within(100);
    clock.advance(1000);
    expect(rung).toEqual([100]);
  });

  test("rings at the earliest deadline, and at later ones when they are set then", () => {
    const { clock, timer, rung } = timed();
    timer.by(300);
    timer.by(200);
    timer.by(400);
    clock.advance(250);
    timer.by(400);
    clock.advance(1000);
    timer.by(900);
    clock.advance(10);
    expect(rung).toEqual([200, 400, 1251]);
  });

  test("rings again and again until it is cancelled, also by itself", () => {
    const clock = new ManualClock();
    let rung = 0;
    const timer: Timer = new Timer(() => {
      if (++rung === 3) timer.cancel();
    }, clock);
    timer.every(10);
    clock.advance(1000);
    expect([rung, timer.isSet, clock.alarms]).toEqual([3, false, 0]);
  });
});

test("an alarm further away than a timer of the runtime can be does not ring at once", async () => {
  let rang = false;
  const callOff = systemClock.after(2 ** 31, () => {
    rang = true;
  });
  await pause(20);
  callOff();
  expect(rang).toBe(false);
});

describe("waits", () => {
  test("pauses grow to the maximum, and start over after a success", () => {
    const backOff = new BackOff(100, 350);
    expect([1, 2, 3, 4].map(() => backOff.next())).toEqual([100, 200, 350, 350]);
    backOff.reset();
    expect(backOff.next()).toBe(100);
  });

  test("a pause ends on time or with its signal, and leaves no timer behind", async () => {
    const clock = new ManualClock();
    const ending = new AbortController();
    const pauses = [pause(100, undefined, clock), pause(1000, ending.signal, clock)];
    clock.advance(100);
    await pauses[0];
    ending.abort();
    await pauses[1];
    await pause(1000, ending.signal, clock);
    expect(clock.alarms).toBe(0);
  });

  test("work is done in time, or not, or fails", async () => {
    const clock = new ManualClock();
    expect(await isDoneWithin(100, Promise.resolve(), clock)).toBe(true);
    expect(await failureOf(isDoneWithin(100, Promise.reject(new Error("no")), clock))).toBe("no");
    const late = isDoneWithin(100, new Promise(() => {}), clock);
    clock.advance(100);
    expect(await late).toBe(false);
    await new Promise(setImmediate);
    expect(clock.alarms).toBe(0);
  });
});
