/** Schedules follow the principal's time zone, however it is written, and clients in other zones show them accordingly. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Cluster, cdktr, startCluster } from "../support/cdktr.ts";
import { shellWorkflow } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    env: { TZ: "JST-9" },
    workflows: {
      "noon.yml": shellWorkflow({ zone: { sh: "true" } }, 'cron: "0 12 * * *"\n'),
      "own.yml": shellWorkflow({ zone: { sh: "true" } }, 'cron: "0 12 * * *"\ntimezone: Europe/London\n'),
    },
  });
}, 60_000);
afterAll(() => cluster?.stop());

const hourIn = (zone: string, ms: number) =>
  new Intl.DateTimeFormat("en", { timeZone: zone, hour: "2-digit", minute: "2-digit", hour12: false }).format(
    ms,
  );

test("a rule that the C library knows is followed, and what a client shows comes from the principal", async () => {
  const elsewhere = { env: { TZ: "America/New_York" } };
  const [noon, own] = JSON.parse((await cluster.cdktr(["workflow", "list", "--json"], elsewhere)).stdout);
  expect(hourIn("Asia/Tokyo", noon.next_firing_ms)).toBe("12:00");
  expect(noon).toMatchObject({ schedule_timezone: "Etc/GMT-9", timezone: null });
  expect(noon.next_firing_ms - noon.previous_firing_ms).toBe(86_400_000);
  expect(hourIn("Europe/London", own.next_firing_ms)).toBe("12:00");
  const shown = await cluster.cdktr(["workflow", "show", "noon"], elsewhere);
  expect(shown.stdout).toMatch(/0 12 \* \* \* \(Etc\/GMT-9\)/);
  // New York is 13 or 14 hours behind.
  expect(shown.stdout).toMatch(/Next +\d{4}-\d\d-\d\d 2[23]:00:00/);
});

test("a command shows times in the zone of such a rule", async () => {
  const { stdout } = await cluster.cdktr(["workflow", "show", "noon"]);
  expect(stdout).toMatch(/Next +\d{4}-\d\d-\d\d 12:00:00/);
});

test("a principal in no known zone does not start, and says which name was meant", async () => {
  const { code, stderr } = await cdktr(["start", "principal"], {
    cwd: cluster.directory,
    env: { ...cluster.env, TZ: "Europe/Berln", CDKTR_APP_DATA_DIRECTORY: `${cluster.directory}/other` },
  });
  expect(code).not.toBe(0);
  expect(stderr).toMatch(/TZ is "Europe\/Berln", which is not a time zone/);
  expect(stderr).toMatch(/did you mean TZ=Europe\/Berlin\?/);
});
