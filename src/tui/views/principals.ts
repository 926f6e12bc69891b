/** The principals of an installation with several: who leads, how far the others are. */
import type { MemberRole, PrincipalSummary } from "../../contract/messages.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import { age } from "../format.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, DIM, GREEN, PLAIN, RED, type Style, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";

/** Members that are shown; the others are counted. */
const MOST = 5;

const LOOK: Readonly<Record<MemberRole, readonly [symbol: string, style: Style]>> = {
  single: ["★", GREEN],
  leader: ["★", GREEN],
  follower: ["✓", PLAIN],
  joining: ["◷", YELLOW],
  changing: ["◷", YELLOW],
  silent: ["✗", RED | BOLD],
};

/** The number of rows that {@link drawPrincipals} needs; 0 when there is only one principal. */
export function principalsHeight({ data }: State): number {
  const count = data.principals?.length ?? 0;
  return count < 2 ? 0 : 1 + Math.min(count, MOST);
}

/** A line for each, below a rule. */
export function drawPrincipals(region: Region, state: State): void {
  const all = state.data.principals ?? [];
  region.rule(0);
  region.spans(1, 0, [[" principals ", BOLD]]);
  if (all.length > MOST) region.textRight(0, ` and ${all.length - MOST} more `, DIM, 1);
  const width = Math.max(...all.map(({ name }) => name.length));
  for (const [i, one] of all.slice(0, MOST).entries())
    region.spans(1, i + 1, lineOf(one, width), region.width - 2);
}

function lineOf(one: PrincipalSummary, width: number): Span[] {
  const [symbol, style] = LOOK[one.role];
  return [
    [`${symbol} ${one.name.padEnd(width)}  ${one.role.padEnd(8)}`, style],
    [`  ${hostAndPort(one.host, one.api_port)}`, DIM],
    ...factsOf(one),
  ];
}

function factsOf({ role, epoch, lag, store, same_workflows, silent_ms, problem }: PrincipalSummary): Span[] {
  const facts: Span[] = [];
  if (epoch !== null) facts.push([`  epoch ${epoch}`, DIM]);
  if (role === "leader" && store !== null)
    facts.push([`  commits ${store.p50_ms.toFixed(1)} ms, slowest ${store.p99_ms.toFixed(1)} ms`, DIM]);
  if (role === "silent") facts.push([`  not heard of for ${age(silent_ms)}`, RED]);
  else if (lag !== null)
    facts.push(lag.commits === 0 ? ["  up to date", DIM] : [`  ${lag.commits} commits behind`, YELLOW]);
  if (same_workflows === false) facts.push(["  other workflow files", YELLOW]);
  if (problem !== null) facts.push([`  ${problem}`, YELLOW]);
  return facts;
}
