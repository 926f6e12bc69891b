/** Users refer to runs by id, or by the beginning of an id. */

/** Minimum length of the beginning of an id. Whether a shorter one is unique would depend on chance. */
export const SHORTEST_PREFIX = 4;

/** Why `text` cannot refer to a run; undefined if it can. */
export function runIdProblem(text: string): string | undefined {
  if (text.trim() === "") return "the id of the run is empty";
  if (!/^[\da-f-]+$/i.test(text)) return `'${text}' is neither the id of a run nor the beginning of one`;
  if (text.length >= SHORTEST_PREFIX) return undefined;
  return `'${text}' is too short: the beginning of a run's id needs at least ${SHORTEST_PREFIX} characters`;
}

/** The runs that `text` may refer to: the one with this id, otherwise all whose ids begin with it. */
export function runsNamed<T extends { readonly workflow_instance_id: string }>(
  text: string,
  runs: readonly T[],
): readonly T[] {
  const wanted = text.toLowerCase();
  const exact = runs.find((run) => run.workflow_instance_id === wanted);
  return exact === undefined ? runs.filter((run) => run.workflow_instance_id.startsWith(wanted)) : [exact];
}
