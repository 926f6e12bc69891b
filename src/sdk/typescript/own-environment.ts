/** Hides a listener's own start-up environment from its child processes. */

/**
 * Removes a variable from the environment of child processes. When `Bun.spawn` is given no environment, it uses the one the process
 * started with, whatever happened to `process.env` since; from here on it uses the current one.
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
