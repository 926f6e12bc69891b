/** Checks whether anything listens at an address: libzmq does not report it, it only retries. */
import { createConnection } from "node:net";
import { errorMessage } from "../errors.ts";
import { bareHost } from "../host/addresses.ts";

/** Why a TCP connection cannot be made; null when it can. */
export function cannotConnect(host: string, port: number, patienceMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: bareHost(host), port });
    const end = (problem: string | null) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => end(`nothing answered within ${patienceMs / 1000} s`), patienceMs);
    socket.once("connect", () => end(null));
    socket.once("error", (error: NodeJS.ErrnoException) => end(wordsFor(error, host)));
  });
}

function wordsFor(error: NodeJS.ErrnoException, host: string): string {
  switch (error.code) {
    case "ECONNREFUSED":
      // Bun uses this code for an unreachable network as well.
      return "the connection was refused, or the network is unreachable";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `the host name ${host} cannot be resolved`;
    case "ENETUNREACH":
    case "EHOSTUNREACH":
      return "there is no route to the host";
    default:
      return errorMessage(error);
  }
}
