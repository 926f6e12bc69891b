/** Validates answers: each check returns undefined, or a sentence that says what is wrong. */
import { accessSync, constants, statSync } from "node:fs";
import { dirname, isAbsolute, join, normalize, relative, resolve } from "node:path";
import { PROJECT_DATA } from "./answers.ts";

/** A port number. */
export function checkPort(text: string): string | undefined {
  const port = Number(text);
  if (/^\d+$/.test(text.trim()) && port >= 1 && port <= 65_535) return undefined;
  return "A port is a whole number from 1 to 65535.";
}

/** A whole number, at least 1. */
export function checkCount(text: string): string | undefined {
  return /^\d{1,6}$/.test(text.trim()) && Number(text) >= 1 ? undefined : "A whole number, at least 1.";
}

/** The workflow directory: it must be inside the project, so that everything can be written in one step. */
export function checkWorkflowDirectory(text: string, project: string): string | undefined {
  const inside = insideProject(text, project);
  if (inside === undefined) return `It must be inside the project (${project}), such as "workflows".`;
  if (/[\n\r\0]/.test(text)) return "It must not contain a line break.";
  if (inside.split("/").some((part) => part.startsWith(".")))
    return "It must not be hidden: hidden directories are not searched.";
  const status = statSync(join(project, inside), { throwIfNoEntry: false });
  return status !== undefined && !status.isDirectory() ? "There is a file with this name." : undefined;
}

/** The path relative to the project, with `/`; undefined when it is outside, or the project itself. */
export function insideProject(text: string, project: string): string | undefined {
  if (text.trim() === "") return undefined;
  const inside = relative(project, resolve(project, text));
  return inside === "" || inside.startsWith("..") || isAbsolute(inside) ? undefined : normalize(inside);
}

/** The project's directory: it exists and is writable, or can be created. */
export function checkProjectDirectory(path: string): string | undefined {
  if (path.includes("\0") || /[\n\r]/.test(path)) return "It must not contain a line break.";
  let at = path;
  for (;;) {
    const status = statOf(at);
    if (status === "denied") return `This user has no access to ${dirname(at)}.`;
    if (status?.isDirectory()) break;
    if (status !== undefined) return `${at} is a file.`;
    if (at === dirname(at)) return `${path} does not exist and cannot be created.`;
    at = dirname(at);
  }
  try {
    accessSync(at, constants.W_OK | constants.X_OK);
    if (at === path) {
      const data = join(path, PROJECT_DATA);
      if (statSync(data, { throwIfNoEntry: false })) accessSync(data, constants.W_OK | constants.X_OK);
    }
    return undefined;
  } catch {
    return `This user may not write to ${at}.`;
  }
}

/** An address to bind to or to connect to. */
export function checkHost(text: string): string | undefined {
  if (text.trim() === "") return "An IP address or a host name, such as 10.0.0.5.";
  return /^[\w.:[\]*%-]+$/.test(text.trim()) ? undefined : "An IP address or a host name, such as 10.0.0.5.";
}

/** Why a user, given by uid, cannot reach a directory: another one on the way is closed to others. Root can reach everything. */
export function checkReach(
  directory: string,
  user: { readonly uid: number; readonly gid: number },
): string | undefined {
  if (user.uid === 0) return undefined;
  const chain: string[] = [];
  for (let at = directory; ; at = dirname(at)) {
    chain.unshift(at);
    if (at === dirname(at)) break;
  }
  for (const path of chain) {
    const status = statOf(path);
    if (status === undefined || status === "denied") return undefined;
    const bit = status.uid === user.uid ? 0o100 : status.gid === user.gid ? 0o010 : 0o001;
    if ((status.mode & bit) === 0) return path;
  }
  return undefined;
}

function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOTDIR" ? undefined : ("denied" as const);
  }
}
