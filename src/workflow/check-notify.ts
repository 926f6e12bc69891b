/** Finds rules of `notify` that tell a channel which does not exist, visible only with the settings of the workflow directory. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import type { IssuePath } from "./issues.ts";
import type { NotifyRule } from "./notify.ts";

/** A rule that tells nobody. */
interface NotifyProblem extends Pick<Finding, "code" | "message" | "help"> {
  readonly path: IssuePath;
}

/** The channels that an alert file names and that are not among these. */
export function checkTold(
  to: readonly string[] | undefined,
  channels: Readonly<Record<string, unknown>>,
): NotifyProblem[] {
  const found = checkNotify(to === undefined ? [] : [{ to: [...to] }], channels);
  return found.map((problem) => ({ ...problem, path: ["to"] }));
}

/** The channels of rules that are not among these. */
export function checkNotify(
  rules: readonly NotifyRule[] | undefined,
  channels: Readonly<Record<string, unknown>>,
): NotifyProblem[] {
  if (rules === undefined || rules.length === 0) return [];
  const names = Object.keys(channels);
  return rules.flatMap(({ to }, n) =>
    to
      .filter((name) => !names.includes(name))
      .map((name): NotifyProblem => {
        const known = names.length === 0 ? "it has none" : `it has ${names.slice(0, 10).join(", ")}`;
        const where = `channels are in _cdktr.yml of the workflow directory; ${known}`;
        const message = `there is no channel "${name}": nobody is told`;
        return { code: "W022", message, help: didYouMean(name, names) ?? where, path: ["notify", n, "to"] };
      }),
  );
}
