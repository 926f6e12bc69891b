/** Who may connect to the sockets of a principal. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { Config } from "../../config.ts";
import { isLoopback } from "../../host/addresses.ts";
import { Access } from "../../protocol/doors/access.ts";
import { KeyStore } from "../../protocol/doors/key-store.ts";
import { LocalPeers } from "../../protocol/doors/local-peers.ts";

export interface Entrance {
  /** Those with a key that is known; undefined without keys. */
  readonly access: Access | undefined;
  /** Processes of its own user and of root; undefined with keys, and when everyone may. */
  readonly locals: LocalPeers | undefined;
  /** Everyone may. */
  readonly isOpen: boolean;
}

/** The one that the key files and the settings ask for. */
export function entranceOf(
  config: Config,
  o: {
    readonly insecure: boolean;
    readonly clock: Clock;
    readonly log: ConsolaInstance;
    /** See {@link AccessOptions.share}. */
    readonly share?: () => Promise<void>;
  },
): Entrance {
  const store = new KeyStore(config.CDKTR_APP_DATA_DIRECTORY);
  const access = store.exists ? new Access({ store, ...o }) : undefined;
  const isOpen = access === undefined && (o.insecure || !isLoopback(config.CDKTR_PRINCIPAL_HOST));
  const locals = access === undefined && !isOpen ? new LocalPeers({ log: o.log }) : undefined;
  return { access, locals, isOpen };
}
