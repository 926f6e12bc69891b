/** Checks whether anything listens at an address: libzmq does not report it, it only retries. */
import { createConnection } from "node:net";
import { errorMessage } from "../errors.ts";
import { bareHost } from "../host/addresses.ts";
import { Timer } from "../timer.ts";

/** Why a TCP connection cannot be made; null when it can. */
export function cannotConnect(host: string, port: number, patienceMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: bareHost(host), port });
    const end = (problem: string | null) => {
      timer.cancel();
      socket.destroy();
      resolve(problem);
    };
    const timer = new Timer(() => end(`nothing answered within ${patienceMs / 1000} s`));
    timer.in(patienceMs);
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

/** What is at an address: nobody who answers, a ZeroMQ socket, or a program that speaks something else. */
export type Listener =
  | { readonly kind: "none"; readonly problem: string }
  | { readonly kind: "zeromq" }
  | { readonly kind: "other" };

/** First byte of what a ZeroMQ socket sends to everybody who connects. */
const ZMTP_SIGNATURE = 0xff;

/** Finds out what listens at an address, in at most `patienceMs`. */
export function listenerAt(host: string, port: number, patienceMs: number): Promise<Listener> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: bareHost(host), port });
    let isConnected = false;
    const end = (found: Listener) => {
      timer.cancel();
      socket.destroy();
      resolve(found);
    };
    const timer = new Timer(() => {
      const problem = `nothing answered within ${patienceMs / 1000} s`;
      end(isConnected ? { kind: "other" } : { kind: "none", problem });
    });
    timer.in(patienceMs);
    socket.once("connect", () => {
      isConnected = true;
    });
    socket.once("data", (bytes: Buffer) => end({ kind: bytes[0] === ZMTP_SIGNATURE ? "zeromq" : "other" }));
    socket.once("close", () => end({ kind: "other" }));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      end(isConnected ? { kind: "other" } : { kind: "none", problem: wordsFor(error, host) }),
    );
  });
}
