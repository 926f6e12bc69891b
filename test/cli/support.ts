/** Workflows for the tests of commands. */

/** A workflow whose tasks run shell scripts: task id to script, or script and what it depends on. */
export function shellWorkflow(
  name: string,
  tasks: Readonly<Record<string, string | { readonly sh: string; readonly depends?: readonly string[] }>>,
  head = "",
): string {
  const lines = [`name: ${JSON.stringify(name)}`, ...(head === "" ? [] : [head]), "tasks:"];
  for (const [id, task] of Object.entries(tasks)) {
    const { sh, depends = [] } = typeof task === "string" ? { sh: task } : task;
    lines.push(
      `  ${id}:`,
      `    name: ${JSON.stringify(`The ${id}`)}`,
      `    depends: ${JSON.stringify(depends)}`,
      "    config: !Subprocess",
      "      cmd: sh",
      `      args: ${JSON.stringify(["-c", sh])}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** A script that goes on when the file is there; it makes `${file}.started` first. */
export function waitForFile(file: string): string {
  return `touch '${file}.started'; while [ ! -e '${file}' ]; do sleep 0.02; done`;
}

/** Lines of a text, without the empty one after the last line feed. */
export function linesOf(text: string): string[] {
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}

/** The objects of a text with one JSON document a line. */
export function jsonLines<T = Record<string, unknown>>(text: string): T[] {
  return linesOf(text).map((line) => JSON.parse(line) as T);
}
