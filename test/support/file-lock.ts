/** File locks held by another process. */

/** A process that holds the lock on a file as another DuckDB would, until it is disposed of. */
export async function lockOf(file: string): Promise<AsyncDisposable & { readonly pid: number }> {
  const program = [
    "import fcntl, sys",
    "f = open(sys.argv[1], 'r+b')",
    "fcntl.lockf(f, fcntl.LOCK_EX)",
    "print('locked', flush=True)",
    "sys.stdin.read()",
  ].join("\n");
  const child = Bun.spawn(["python3", "-c", program, file], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const { done } = await child.stdout.getReader().read();
  if (done) throw new Error(`${file} cannot be locked`);
  return {
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}
