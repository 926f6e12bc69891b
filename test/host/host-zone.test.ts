import { expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { hostZone, UnknownZoneError } from "../../src/host/host-zone.ts";
import { nextFiring } from "../../src/workflow/schedule.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

test("names, paths and rules are understood", () => {
  expect(hostZone("")).toBe("UTC");
  expect(hostZone("Asia/Tokyo")).toBe("Asia/Tokyo");
  expect(hostZone(":Asia/Tokyo")).toBe("Asia/Tokyo");
  expect(hostZone("/usr/share/zoneinfo/Asia/Tokyo")).toBe("Asia/Tokyo");
  expect(hostZone(":/usr/share/zoneinfo/posix/Asia/Tokyo")).toBe("Asia/Tokyo");
  expect(hostZone("JST-9")).toBe("Etc/GMT-9");
  expect(hostZone("<-03>+03:00")).toBe("Etc/GMT+3");
  expect(hostZone("UTC0")).toBe("UTC");
});

test("a rule has the same next firings as the zone with that rule", () => {
  const noon = (zone: string, after: string) =>
    new Date(
      nextFiring({ cron: "0 12 * * *", timezone: zone, start_time_ms: null }, Date.parse(after)) ?? 0,
    ).toISOString();
  const berlin = hostZone("CET-1CEST,M3.5.0,M10.5.0/3");
  expect(noon(berlin, "2027-01-10T00:00:00Z")).toBe("2027-01-10T11:00:00.000Z");
  expect(noon(berlin, "2027-07-10T00:00:00Z")).toBe("2027-07-10T10:00:00.000Z");
  expect(noon(hostZone("IST-5:30"), "2027-07-10T00:00:00Z")).toBe("2027-07-10T06:30:00.000Z");
  // Without its dates a rule changes the clock as in the USA.
  expect(noon(hostZone("CST6CDT"), "2027-03-20T00:00:00Z")).toBe("2027-03-20T17:00:00.000Z");
});

test("a copy of a zone file, and /etc/localtime without a link", () => {
  using directory = new TemporaryDirectory();
  const copy = directory.path("localtime");
  copyFileSync("/usr/share/zoneinfo/Asia/Tokyo", copy);
  expect(hostZone(copy)).toBe("Etc/GMT-9");
  expect(hostZone(undefined, copy)).toBe("Etc/GMT-9");
});

test("an invalid zone is refused, with the name to use", () => {
  expect(() => hostZone("Europe/Berln")).toThrow(UnknownZoneError);
  try {
    hostZone("Europe/Berln");
  } catch (error) {
    expect(error).toMatchObject({ hint: "Give an IANA name; did you mean TZ=Europe/Berlin?" });
  }
  expect(() => hostZone("CET-1CEST,M1.5.0,M2.5.0")).toThrow("not a time zone that schedules can use");
  expect(() => hostZone("/nowhere/zone")).toThrow(UnknownZoneError);
});
