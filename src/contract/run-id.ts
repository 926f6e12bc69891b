/** How users name runs: by their id, or by its beginning. */

/** Characters that the beginning of an id must have at least: shorter ones would be a matter of which runs there happen to be. */
export const SHORTEST_PREFIX = 4;

/** Why `text` cannot name a run; undefined when it can. */
export function runIdProblem(text: string): string | undefined {
  if (text.trim() === "") return "the id of the run is empty";
  if (!/^[\da-f-]+$/i.test(text)) return `'${text}' is neither the id of a run nor the beginning of one`;
  if (text.length >= SHORTEST_PREFIX) return undefined;
  return `'${text}' is too short: the beginning of a run's id needs at least ${SHORTEST_PREFIX} characters`;
}

/** The runs that `text` may mean: the one with this id, otherwise all whose ids begin with it. */
export function runsNamed<T extends { readonly workflow_instance_id: string }>(
  text: string,
  runs: readonly T[],
): readonly T[] {
  const wanted = text.toLowerCase();
  const exact = runs.find((run) => run.workflow_instance_id === wanted);
  return exact === undefined ? runs.filter((run) => run.workflow_instance_id.startsWith(wanted)) : [exact];
}
