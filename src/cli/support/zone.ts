/** The time zone in which commands show times. */

/** What the runtime understands of `TZ`; everything else it takes for UTC. */
const PLAIN_NAME = /^:?[A-Z]\w*(\/[\w+-]+)*$/;

/** Shows times in the zone that the C library makes of `TZ`, also when that is a rule or a path; in UTC when it is no zone at all. */
export async function adoptZone(): Promise<void> {
  const { TZ } = process.env;
  if (TZ === undefined || TZ === "" || PLAIN_NAME.test(TZ)) return;
  const { hostZone, UnknownZoneError } = await import("../../host/host-zone.ts");
  try {
    process.env.TZ = hostZone(TZ);
  } catch (error) {
    if (!(error instanceof UnknownZoneError)) throw error;
  }
}
