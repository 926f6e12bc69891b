/**
 * Limits how many operations may complete before the event loop gets a turn. An operation that does not have to wait resolves in a
 * microtask, and a loop of those would starve timers and every other socket.
 */
const OPERATIONS_PER_TURN = 256;

let remaining = OPERATIONS_PER_TURN;
let deferred: (() => void)[] = [];

/** Counts one immediate operation. False: the budget of this turn is used up; wait with {@link nextTurn}. */
export function takeTurn(): boolean {
  if (remaining === 0) return false;
  remaining--;
  return true;
}

/** Runs the function in the next turn of the event loop, in the order of the calls. */
export function nextTurn(run: () => void): void {
  deferred.push(run);
  if (deferred.length === 1) setImmediate(begin);
}

function begin(): void {
  remaining = OPERATIONS_PER_TURN;
  const due = deferred;
  deferred = [];
  for (const run of due) run();
}
