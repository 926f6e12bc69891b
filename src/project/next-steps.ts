/** The commands to type after a project was written. */
import { relative } from "node:path";
import { isLoopback } from "../host/addresses.ts";
import { type Answers, REPORT_PATH } from "./answers.ts";

/** A command to type. */
export interface NextStep {
  readonly command: string;
  readonly does: string;
}

/** What the steps depend on besides the answers. */
export interface Circumstances {
  /** How this program is called from a shell. */
  readonly program: string;
  /** The user's current directory. */
  readonly cwd: string;
  /** The service was installed and is running. */
  readonly serviceRuns: boolean;
  /** A user service would end when the user logs out. */
  readonly endsAtLogout: boolean;
}

/** The next commands, in order. */
export function nextSteps(answers: Answers, around: Circumstances): NextStep[] {
  const { program, serviceRuns } = around;
  const steps: NextStep[] = [];
  const here = answers.directory === around.cwd;
  if (!here)
    steps.push({
      command: `cd ${shellWord(shortPath(answers.directory, around.cwd))}`,
      does: "the directory with its settings",
    });
  const user = answers.service?.user ? " --user" : "";
  if (serviceRuns) {
    const role = answers.kind === "agent" ? "agent" : "principal";
    steps.push({
      command: `${program} service status ${role}${user}`,
      does: `shows the state of the ${role}`,
    });
    if (around.endsAtLogout)
      steps.push({ command: "loginctl enable-linger", does: "keeps it running while you are not logged in" });
  }
  if (answers.kind === "agent") {
    if (!serviceRuns) {
      const labels = Object.entries(answers.labels).map(
        ([key, value]) => ` --label ${shellWord(`${key}=${value}`)}`,
      );
      steps.push({
        command: `${program} start agent${labels.join("")}`,
        does: "takes work from the principal until Ctrl-C",
      });
    }
    return steps;
  }
  const { crontab, keys, host } = answers;
  if (crontab !== undefined) {
    steps.push({
      command: `less ${REPORT_PATH}`,
      does: "what became of the crontab; its jobs still run until you remove them",
    });
  }
  if (!serviceRuns) {
    steps.push({
      command: `${program} start ${startArguments(answers).join(" ")}`,
      does: "runs until Ctrl-C; use another terminal, in the same directory, for the rest",
    });
  }
  if (answers.example)
    steps.push({ command: `${program} run hello --follow`, does: "runs the example and shows its output" });
  steps.push({ command: `${program} ui`, does: "everything on one screen" });
  if (keys && answers.kind === "principal" && !isLoopback(host))
    steps.push({
      command: `${program} join-token create`,
      does: "prints the token that an agent on another host needs",
    });
  return steps;
}

/** The arguments of `cdktr start`. */
export function startArguments(answers: Exclude<Answers, { kind: "agent" }>): string[] {
  return [
    "principal",
    ...(answers.withAgent ? ["--with-agent"] : []),
    ...(!answers.keys && !isLoopback(answers.host) ? ["--insecure"] : []),
  ];
}

/** Quotes a word for a shell if necessary. */
export function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A path as one would type it from the current directory. */
export function shortPath(path: string, cwd: string): string {
  const near = relative(cwd, path);
  return near !== "" && !near.startsWith("..") ? near : near === "" ? "." : path;
}
