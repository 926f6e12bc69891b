import { catchesTerm } from "./proc-files.ts";

/** Programs that run another one and pass TERM on to it, by the name that the kernel shows. */
const FORWARDERS = /^(uv|npm( .*)?)$/;

/** Whether a process passes SIGTERM on to its child, so that the child must not be sent one of its own. */
export function isForwarder(pid: number, name: string): boolean {
  return FORWARDERS.test(name) && catchesTerm(pid);
}
