/** Keeps from the listener's own child processes what its process was started with. */

/**
 * Removes a variable from the environment that child processes get. `Bun.spawn` gives those that name no environment the one
 * the process began with, whatever became of `process.env` since; from here on they get the present one.
 */
export function forgetVariable(name: string): void {
  delete process.env[name];
  for (const spawner of ["spawn", "spawnSync"] as const) {
    const original: (...args: unknown[]) => unknown = Bun[spawner] as never;
    Object.assign(Bun, {
      [spawner]: (first: unknown, second?: object) =>
        Array.isArray(first)
          ? original(first, { env: process.env, ...second })
          : original({ env: process.env, ...(first as object) }),
    });
  }
}
