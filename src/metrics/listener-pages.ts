/** The pages of a process that runs listeners. */
import { VERSION } from "../build-facts.ts";
import { CdktrError } from "../errors.ts";
import { Exposition } from "./exposition.ts";
import { addListeners, type ListenerNumbers } from "./listener-metrics.ts";
import type { MetricsServerOptions } from "./metrics-server.ts";
import { addProcess } from "./process-metrics.ts";

/** A listener on the health page. */
export interface ListenerHealth extends ListenerNumbers {
  readonly error: string | null;
}

/** A process is unhealthy while one of its listeners has failed; an absent principal does not make it unhealthy. */
export function listenerPages(
  listeners: () => readonly ListenerHealth[],
): Pick<MetricsServerOptions, "page" | "health"> {
  return {
    page: async () => {
      const page = new Exposition();
      page.gauge("cdktr_build_info", "The version, as a label; always 1.", [[{ version: VERSION }, 1]]);
      addListeners(page, listeners());
      addProcess(page);
      return page.toString();
    },
    health: async () => {
      const failing = listeners().find((listener) => listener.state !== "running");
      if (failing !== undefined) {
        const why = failing.error === null ? "" : `: ${failing.error}`;
        throw new CdktrError(`the listener ${failing.name} is ${failing.state}${why}`);
      }
      return { version: VERSION, listeners: listeners() };
    },
  };
}
