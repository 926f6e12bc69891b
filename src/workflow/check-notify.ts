/** Finds rules of `notify` that tell a channel which does not exist, or have a key without an effect, visible only with the settings of the workflow directory. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import type { IssuePath } from "./issues.ts";
import { isAbout, type NotifyRule } from "./notify.ts";

/** A rule that tells nobody, or not what it seems to. */
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

/** The channels of rules that are not among these, and numbers of failures that nothing depends on. */
export function checkNotify(
  rules: readonly NotifyRule[] | undefined,
  channels: Readonly<Record<string, unknown>>,
): NotifyProblem[] {
  if (rules === undefined || rules.length === 0) return [];
  const names = Object.keys(channels);
  return rules.flatMap((rule, n) => [
    ...rule.to
      .filter((name) => !names.includes(name))
      .map((name): NotifyProblem => {
        const known = names.length === 0 ? "it has none" : `it has ${names.slice(0, 10).join(", ")}`;
        const where = `channels are in _cdktr.yml of the workflow directory; ${known}`;
        const message = `there is no channel "${name}": nobody is told`;
        return { code: "W022", message, help: didYouMean(name, names) ?? where, path: ["notify", n, "to"] };
      }),
    ...withoutFailures(rule, n),
  ]);
}

/** `after_failures` is about `failed` and `recovered` alone. */
function withoutFailures(rule: NotifyRule, n: number): NotifyProblem[] {
  const { after_failures } = rule;
  if (after_failures === undefined || isAbout(rule, "failed") || isAbout(rule, "recovered")) return [];
  const message = '"after_failures" in notify has no effect: the rule tells neither failed nor recovered';
  const help = "add failed to on, or remove it";
  return [{ code: "W002", message, help, path: ["notify", n, "after_failures"] }];
}
