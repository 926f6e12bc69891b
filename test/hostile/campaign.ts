/**
 * A program that attacks a principal in every known way, in an order determined by the seed.
 * Usage: bun test/hostile/campaign.ts '{"ports":…,"keys":…,"seed":1,"plan":{"noise":300,…}}'
 * A line on stdout after each attack, {"attack", "count", "ms"}; the last one is {"done": true, "count"}.
 * Connections that attacks leave open are closed when its stdin ends.
 */
import { Random } from "../chaos/random.ts";
import { ATTACKS, type Attack, type AttackName, type Target } from "./attacks.ts";

/** How often to execute each of the {@link ATTACKS}. */
export type Plan = Partial<Record<AttackName, number>>;

/** The argument of the program. */
export interface Campaign extends Target {
  readonly seed: number;
  readonly plan: Plan;
}

if (import.meta.main) {
  const campaign: Campaign = JSON.parse(process.argv[2] ?? "{}");
  const random = new Random(campaign.seed);
  const held: { end(): void }[] = [];
  const rest = Object.entries(campaign.plan) as [AttackName, number][];
  let total = 0;
  while (rest.length > 0) {
    const [next] = rest.splice(Math.floor(random.next() * rest.length), 1);
    if (next === undefined) break;
    const [attack, amount] = next;
    const began = performance.now();
    const act: Attack = ATTACKS[attack];
    const count = await act({
      target: campaign,
      random,
      amount,
      hold: (peer) => void held.push(peer),
    });
    total += count;
    console.log(JSON.stringify({ attack, count, ms: Math.round(performance.now() - began) }));
  }
  console.log(JSON.stringify({ done: true, count: total }));
  for await (const _ of Bun.stdin.stream());
  for (const peer of held) peer.end();
  process.exit(0);
}
