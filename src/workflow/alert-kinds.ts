/** The kinds of alerts: conditions that are worth telling people. One table, which the language, the principal and the manual share. */

/** What is known about a kind. */
interface KindFacts {
  /** What it is about: `workflow` for those that `notify` of a workflow may name; others belong to the installation. */
  readonly of: "workflow" | "installation";
  /** Whether it is open until something resolves it. Others are events, which are resolved as they are raised. */
  readonly lasts: boolean;
  /** Whether the end of the run that it is about resolves it, if nothing has before. */
  readonly endsWithRun: boolean;
  /** Whether it is there although nobody is told of it: somebody has asked for it in another way. */
  readonly isAlwaysShown: boolean;
  /** When it is raised, for the manual. */
  readonly about: string;
  /** What resolves it, for the manual; null for an event. */
  readonly over: string | null;
}

const event = (about: string): KindFacts => ({
  of: "workflow",
  lasts: false,
  endsWithRun: false,
  isAlwaysShown: false,
  about,
  over: null,
});
const lasting = (about: string, over: string, more: Partial<KindFacts> = {}): KindFacts => ({
  of: "workflow",
  lasts: true,
  endsWithRun: false,
  isAlwaysShown: false,
  about,
  over,
  ...more,
});

/** The kinds, in the order of the manual. */
export const ALERT_KINDS = {
  failed: event("a run FAILED or CRASHED, after its last attempt"),
  recovered: event("a run COMPLETED after one that was told as `failed`"),
  late: lasting("a run is not where `expect` wants it in time", "it gets there, or ends", {
    endsWithRun: true,
    isAlwaysShown: true,
  }),
  missed: lasting("no run did what `expect` wants in time", "the next run that COMPLETED", {
    isAlwaysShown: true,
  }),
  waiting: lasting("a task waits for a person", "the answer, or the end of the run", { endsWithRun: true }),
  paused: lasting("`auto_pause` paused the workflow", "it is resumed"),
  agent_lost: lasting("an agent is silent, and counts as lost", "it is back, or removed", {
    of: "installation",
  }),
  dead_letter: {
    ...event("a message of a channel, or a firing of a schedule or of an event, was given up"),
    of: "installation",
  },
  query: lasting("a query of `alerts/` has a row", "the row is gone", {
    of: "installation",
    isAlwaysShown: true,
  }),
} satisfies Readonly<Record<string, KindFacts>>;

/** The kind of an alert. */
export type AlertKind = keyof typeof ALERT_KINDS;

/** What is known about a kind that may come from another version; one that is not known here is an event. */
export function kindFacts(kind: string): KindFacts {
  return Object.hasOwn(ALERT_KINDS, kind) ? ALERT_KINDS[kind as AlertKind] : event(kind);
}

/** Names of all kinds. */
export const KINDS_OF_ALERTS = Object.keys(ALERT_KINDS) as readonly AlertKind[];

/** Names of the kinds that belong to a workflow. */
export const KINDS_OF_WORKFLOWS: readonly AlertKind[] = KINDS_OF_ALERTS.filter(
  (kind) => ALERT_KINDS[kind].of === "workflow",
);

/** The key of an alert: at most one with it is open. @param parts what tells it apart from others of its kind */
export function alertKey(kind: AlertKind, ...parts: readonly string[]): string {
  return [kind, ...parts].join(" ");
}
