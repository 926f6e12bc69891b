/** The exports of `import … from "cdktr"` in a user's program. Their types are in cdktr.d.ts. */
export { CdktrError, PrincipalUnreachableError } from "../../errors.ts";
export { TriggerNotSafeError } from "../../events/buffered-delivery.ts";
export { EventListener } from "../../events/event-listener.ts";
export {
  PrincipalFailedError,
  RequestRefusedError,
  RequestUnprocessableError,
} from "../../protocol/client.ts";
export { LogTail } from "./log-tail.ts";
export { Principal } from "./principal.ts";
